import { throwIfAborted } from '../base/abort';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import type { Config } from '../config/schema';
import { createTask, type Task } from '../models';
import { type Device, memory, resetPeakMemory, resolveDevice, synchronize } from '../native/device';
import type { DeviceType } from '../native/load';
import { evaluation } from '../nn/module';
import { randomNormal } from '../ops/random';
import { AdamW } from '../optim/adamw';
import { LossScaler } from '../optim/loss_scale';
import { noGrad } from '../tensor/autograd';
import { scope } from '../tensor/scope';
import { tensor } from '../tensor/tensor';
import { classNamesOf } from './setup';
import { finishGradients, forwardBackward } from './train_step';

/** What a step took. */
export interface StepCost {
  /** Clips in the step. */
  clips: number;
  seconds: number;
  /** Most memory that tensors held at a time: weights, activations, and in training gradients and the optimizer's. */
  peakBytes: number;
}

export interface MeasuredCosts {
  device: DeviceType;
  computeDtype: string;
  /** One clip, once the text features are known. */
  test: StepCost;
  /** TRAIN.BATCH_SIZE clips, forward, backward and update; without decoding. */
  training: StepCost;
}

export interface MeasureOptions {
  signal?: AbortSignal;
  /** Told what begins. */
  onStage?: (stage: string) => void;
}

const keys: KnownOptions<MeasureOptions> = { signal: true, onStage: true };

/**
 * Does what a configuration asks for on random pixels and weights, for a few steps, to see what time and memory each takes on
 * MODEL.DEVICE once everything is warm.
 *
 * @throws ERR_OUT_OF_MEMORY, ERR_ABORTED, ERR_CONFIG_VALUE, ERR_LABELS, ERR_DEVICE
 *
 * @example
 * const { training } = await measure(config);
 * console.log(training.seconds, training.peakBytes);
 */
export async function measure(config: Config, options: MeasureOptions = {}): Promise<MeasuredCosts> {
  checkKnownOptions('measure', options, keys);
  const device = resolveDevice(config.MODEL.DEVICE as Device);
  const weightsAside: Config = { ...config, MODEL: { ...config.MODEL, PRETRAINED: null } };
  options.onStage?.('making the model');
  const task = await createTask(weightsAside, classNamesOf(config), { device, signal: options.signal });
  try {
    options.onStage?.(`one clip, and the features of ${task.classNames.length} class names`);
    const test = await timeTest(task, device, options);
    options.onStage?.(`training steps of ${config.TRAIN.BATCH_SIZE} clips`);
    const training = await timeTraining(config, task, device, options);
    return { device, computeDtype: task.computeDtype, test, training };
  } finally {
    task.dispose();
  }
}

function timeTest(task: Task, device: DeviceType, { signal }: MeasureOptions): Promise<StepCost> {
  return timeLast(1, device, signal, () =>
    scope(() => {
      const frames = framesFor(task, 1, device);
      noGrad(() => task.forward(frames, evaluation));
    }),
  );
}

async function timeTraining(
  config: Config,
  task: Task,
  device: DeviceType,
  { signal }: MeasureOptions,
): Promise<StepCost> {
  const clips = config.TRAIN.BATCH_SIZE;
  const scaler = task.computeDtype === 'float16' ? new LossScaler({ device }) : null;
  const optimizer = new AdamW(task.parameterGroups(config), { betas: config.TRAIN.BETAS });
  const training = { config, task, scaler, optimizer };
  const mode = { training: true, seed: 0, step: 0, checkpoint: config.TRAIN.USE_CHECKPOINT };
  try {
    return await timeLast(clips, device, signal, () => {
      scope(() => {
        const targets = tensor(new Int32Array(clips), [clips], { device });
        const input = { frames: framesFor(task, clips, device), targets, mode, group: 1 };
        forwardBackward(training, input, () => {});
      });
      const finite = finishGradients(training);
      optimizer.step({ when: finite });
      optimizer.zeroGrad();
      finite?.dispose();
    });
  } finally {
    optimizer.dispose();
    scaler?.dispose();
  }
}

/** The first time makes what is made once, and on CUDA the second records what is replayed from then on. */
const TURNS = 3;

/** Does it a few times and tells of the last, when all is there. */
async function timeLast(
  clips: number,
  device: DeviceType,
  signal: AbortSignal | undefined,
  step: () => void,
): Promise<StepCost> {
  let seconds = 0;
  for (let turn = 0; turn < TURNS; turn++) {
    throwIfAborted(signal, 'measuring was aborted');
    resetPeakMemory(device);
    const begun = performance.now();
    step();
    await synchronize(device);
    seconds = (performance.now() - begun) / 1000;
  }
  return { clips, seconds, peakBytes: memory(device).peakBytes };
}

function framesFor({ frames, inputSize }: Task, clips: number, device: DeviceType) {
  return randomNormal([clips, frames, 3, inputSize, inputSize], { seed: 0, device });
}
