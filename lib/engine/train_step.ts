import { CodedError } from '../base/error';
import type { Config } from '../config/schema';
import type { Batch } from '../data/batch';
import type { VideoLoader } from '../data/loader';
import type { VideoDataset } from '../data/video_dataset';
import type { GradientBuckets } from '../distributed/data_parallel';
import type { ProcessGroup } from '../distributed/process_group';
import type { Task } from '../models/task';
import { synchronize } from '../native/device';
import type { DeviceType } from '../native/load';
import type { Mode } from '../nn/module';
import { div, mul } from '../ops/binary';
import type { AdamW } from '../optim/adamw';
import { clipGradNorm } from '../optim/clip_grad';
import type { LossScaler } from '../optim/loss_scale';
import type { CosineSchedule } from '../optim/schedule';
import { backward } from '../tensor/autograd';
import { scope } from '../tensor/scope';
import { type Tensor, tensor } from '../tensor/tensor';
import type { Listener } from './events';
import type { RecordedSteps } from './recorded_steps';

/** Everything that the training of an epoch works on. */
export interface Training {
  config: Config;
  task: Task;
  /** What the loader loads; names the videos of a bad batch. */
  dataset: VideoDataset;
  loader: VideoLoader;
  optimizer: AdamW;
  schedule: CosineSchedule;
  device: DeviceType;
  /** For float16; null in other precisions. */
  scaler: LossScaler | null;
  /** Of stochastic depth; the loader has its own copy. */
  seed: number;
  emit: Listener;
  /** Runs steps as recorded work where it can; null where none is recorded. */
  recorded: RecordedSteps | null;
  /** The processes that train together; null when this one trains alone. */
  group: ProcessGroup | null;
  /** Their means of gradients; null without a group. */
  buckets: GradientBuckets | null;
  /** Lets all of them stop after the same micro-batch, see {@link SharedStop}. */
  agree(): Promise<void>;
}

/** Where a micro-batch stands. */
export interface Place {
  epoch: number;
  /** Counted over all epochs. */
  step: number;
  /** The epoch's micro-batch that its update begins with, and how many that has. */
  first: number;
  group: number;
  /** Whether it is the first, and the last, of them. */
  begins: boolean;
  ends: boolean;
}

/** What became of a micro-batch. */
export interface Outcome {
  /** Undefined for an empty batch. */
  loss: number | undefined;
  /** The loss scale, when the gradients overflowed and the update was left out. */
  overflow: number | null;
}

/**
 * The forward and backward pass of a micro-batch: adds the gradient of (loss / `group`) to the parameters'. Nothing in it
 * waits.
 *
 * @param frames float32 [B, T, 3, H, W]
 * @param targets as {@link targetsOf}
 * @param seen given the loss before the backward pass is queued
 * @param finished told each parameter whose gradient is complete, see {@link backward}
 */
export function forwardBackward(
  { config, task, scaler }: Pick<Training, 'config' | 'task' | 'scaler'>,
  { frames, targets, mode, group }: { frames: Tensor; targets: Tensor; mode: Mode; group: number },
  seen: (loss: Tensor) => void,
  finished?: (parameter: Tensor) => void,
): void {
  scope(() => {
    const loss = task.loss(task.forward(frames, mode), targets, config);
    seen(loss);
    const scaled = scaler ? mul(loss, scaler.scale) : loss;
    backward(group === 1 ? scaled : div(scaled, group), undefined, finished);
  });
}

/**
 * What comes between the last backward pass of an update and the optimizer: gradients are unscaled and clipped. Nothing
 * in it waits.
 *
 * @param also further tensors that must be finite for the update to be made
 * @returns int32 [], whether the update is to be made; null without a loss scale, where gradients are taken as they are
 */
export function finishGradients(
  { config, optimizer, scaler }: Pick<Training, 'config' | 'optimizer' | 'scaler'>,
  also: readonly Tensor[] = [],
): Tensor | null {
  const parameters = optimizer.parameters();
  const finite = scaler?.unscale(parameters, also) ?? null;
  if (config.TRAIN.CLIP_GRAD > 0) clipGradNorm(parameters, config.TRAIN.CLIP_GRAD)?.dispose();
  return finite;
}

/** What a batch is compared with: class numbers, int32 [B], or soft targets, float32 [B, K]. */
export function targetsOf(batch: Batch, device: DeviceType): Tensor {
  if (!batch.targets) return tensor(batch.labels, undefined, { device });
  const count = batch.labels.length;
  return tensor(batch.targets, [count, batch.targets.length / count], { device });
}

/**
 * What follows a micro-batch of this loss, operation by operation: where it ends a group, the update.
 *
 * @throws ERR_NOT_FINITE when no loss scale helps
 */
export async function finishStep(
  training: Training,
  place: Place,
  loss: number | undefined,
): Promise<Outcome> {
  if (!place.ends) return { loss, overflow: null };
  const { optimizer, schedule, scaler, buckets } = training;
  await buckets?.finish();
  const finite = finishGradients(training);
  optimizer.step({ when: finite });
  dropGradients(training);
  schedule.stepUpdate(place.step);
  const overflow = scaler && finite && (await finite.item()) === 0 ? await scaler.value() : null;
  finite?.dispose();
  return { loss, overflow };
}

/**
 * The gradients of a group anew up to this micro-batch, after they were dropped: those before it are loaded once more.
 *
 * @returns the micro-batch's loss, as {@link accumulate}
 */
export async function accumulateAgain(
  training: Training,
  batch: Batch,
  place: Place,
): Promise<number | undefined> {
  for (let index = place.first; index < batch.index; index++) {
    const before = await training.loader.batch(place.epoch, index);
    const step = place.step - batch.index + index;
    await accumulate(training, before, { ...place, step, ends: false });
  }
  return accumulate(training, batch, place);
}

/**
 * A micro-batch operation by operation: adds its gradients to the parameters'.
 *
 * @returns its loss, which was waited for; undefined for an empty batch
 * @throws ERR_NOT_FINITE when the loss is no number. Where there are recordings, ERR_OUT_OF_MEMORY is thrown here and not
 *   by what follows
 */
export async function accumulate(
  training: Training,
  batch: Batch,
  { epoch, step, group, ends }: Place,
): Promise<number | undefined> {
  const { config, device, seed, recorded, group: processes, buckets } = training;
  if (batch.shape[0] === 0) {
    batch.release();
    return undefined;
  }
  // Each process draws its own stochastic depth.
  const draw = processes ? step * processes.worldSize + processes.rank : step;
  const mode = { training: true, seed, step: draw, checkpoint: config.TRAIN.USE_CHECKPOINT };
  // The gradients of an update's last micro-batch are complete.
  const finished = buckets && ends ? (parameter: Tensor) => buckets.finished(parameter) : undefined;
  let value: Promise<number> | undefined;
  const seen = (loss: Tensor) => {
    // The read waits for what is queued so far, so the loss arrives while the backward pass runs.
    value = loss.item();
    value.catch(() => {}); // it is awaited below; a failure of backward comes first
  };
  scope(() => {
    const input = { frames: batch.tensor(device), targets: targetsOf(batch, device), mode, group };
    forwardBackward(training, input, seen, finished);
  });
  const loss = await value!;
  // That a kernel found no memory for its intermediate results is told by the next wait.
  if (recorded?.holdsMemory) await synchronize(device);
  batch.release();
  if (!Number.isFinite(loss)) throw notFinite(training, epoch, batch, loss);
  return loss;
}

/** Drops the gradients of micro-batches since the last update. */
export function dropGradients({ optimizer, recorded }: Training): void {
  // Those of recorded work stay its own.
  recorded?.dropGradients();
  optimizer.zeroGrad();
}

/** The error of a loss that is no number. */
export function notFinite({ dataset }: Training, epoch: number, batch: Batch, loss: number): CodedError {
  const files = Array.from(batch.indices, (index) => dataset.at(index).location);
  return new CodedError(
    'ERR_NOT_FINITE',
    `the loss is ${loss} at epoch ${epoch}, step ${batch.index}; the parameters were left as they are. ` +
      `Try a lower TRAIN.LR, TRAIN.CLIP_GRAD 1 or TRAIN.OPT_LEVEL O0. Videos of the batch: ${files.join(', ')}`,
  );
}
