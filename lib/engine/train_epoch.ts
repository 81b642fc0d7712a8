import { CodedError, hasCode } from '../base/error';
import type { Config } from '../config/schema';
import type { Batch } from '../data/batch';
import type { VideoLoader } from '../data/loader';
import type { VideoDataset } from '../data/video_dataset';
import type { Task } from '../models/task';
import { type DeviceType, native } from '../native/load';
import { div, mul } from '../ops/binary';
import type { AdamW } from '../optim/adamw';
import { clipGradNorm } from '../optim/clip_grad';
import type { LossScaler } from '../optim/loss_scale';
import type { CosineSchedule } from '../optim/schedule';
import { backward } from '../tensor/autograd';
import { scope } from '../tensor/scope';
import { type Tensor, tensor } from '../tensor/tensor';
import type { Listener } from './events';
import { AverageMeter } from './meters';

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
}

/** How far an epoch came. */
export interface EpochProgress {
  /** Micro-batches that the parameters have learnt from: all of the epoch, or up to the last update before an abort. */
  batch: number;
  aborted: boolean;
  /** Average logged loss. */
  loss: number;
}

/**
 * Trains one epoch, from micro-batch `startBatch` on. Gradients of ACCUMULATION_STEPS micro-batches are averaged for
 * an update; micro-batches left over at the end make a smaller update of their own. After an update, and only then, the
 * schedule is told the number of its last micro-batch, counted over all epochs, as in the reference.
 *
 * An abort (the loader's signal) ends it at the next micro-batch: gradients since the last update are dropped, and
 * resuming at the returned `batch` repeats them, so that nothing differs from a run without the abort.
 *
 * @throws ERR_NOT_FINITE when a loss is no number, before the parameters change; what the loader throws
 */
export async function trainEpoch(training: Training, epoch: number, startBatch = 0): Promise<EpochProgress> {
  const { config, loader, optimizer, emit } = training;
  const steps = loader.batchesPerEpoch;
  const accumulation = config.TRAIN.ACCUMULATION_STEPS;
  const time = new AverageMeter();
  const loss = new AverageMeter();
  let waited = 0;
  let updated = startBatch;
  let last = performance.now();
  optimizer.zeroGrad();
  try {
    for await (const batch of loader.epoch(epoch, { startBatch })) {
      for (const failure of batch.failed) emit({ ...failure, kind: 'failure' });
      const group = Math.min(accumulation, steps - Math.floor(batch.index / accumulation) * accumulation);
      const value = await accumulate(training, epoch, batch, group);
      if ((batch.index + 1) % accumulation === 0 || batch.index + 1 === steps) {
        await update(training, epoch * steps + batch.index);
        updated = batch.index + 1;
      }
      const now = performance.now();
      time.update((now - last) / 1000);
      last = now;
      waited += batch.waitSeconds;
      // An empty batch (all of its videos skipped) has no loss to count.
      if (value !== undefined) loss.update(Math.fround(value / accumulation), batch.labels.length);
      emit({
        kind: 'train',
        epoch,
        epochs: config.TRAIN.EPOCHS,
        step: batch.index,
        steps,
        loss: loss.value,
        averageLoss: loss.average,
        lr: optimizer.groups[0]!.lr,
        seconds: time.value,
        averageSeconds: time.average,
        dataShare: waited / (time.average * (batch.index + 1 - startBatch)),
        eta: time.average * (steps - batch.index),
        memory: native().memory(training.device).peakBytes,
        logged: batch.index % config.PRINT_FREQ === 0,
      });
    }
  } catch (error) {
    optimizer.zeroGrad();
    if (!hasCode(error, 'ERR_ABORTED')) throw error;
    return { batch: updated, aborted: true, loss: loss.average };
  }
  return { batch: steps, aborted: false, loss: loss.average };
}

/**
 * Adds the gradient of (loss of the batch / `group`) to the parameters'.
 * @returns the loss, or undefined for an empty batch
 */
async function accumulate(
  training: Training,
  epoch: number,
  batch: Batch,
  group: number,
): Promise<number | undefined> {
  const { config, task, loader, device, seed, scaler } = training;
  const [count] = batch.shape;
  if (count === 0) {
    batch.release();
    return undefined;
  }
  const mode = {
    training: true,
    seed,
    step: epoch * loader.batchesPerEpoch + batch.index,
    checkpoint: config.TRAIN.USE_CHECKPOINT,
  };
  let value: Promise<number> | undefined;
  scope(() => {
    const frames = batch.tensor(device);
    const loss = task.loss(task.forward(frames, mode), targetsOf(batch, device), config);
    // The read waits for what is queued so far, so the loss arrives while the backward pass runs.
    value = loss.item();
    value.catch(() => {}); // it is awaited below; a failure of backward comes first
    const scaled = scaler ? mul(loss, scaler.scale) : loss;
    backward(group === 1 ? scaled : div(scaled, group));
  });
  batch.release();
  const loss = await value!;
  if (!Number.isFinite(loss)) throw notFinite(training, epoch, batch, loss);
  return loss;
}

async function update(
  { config, optimizer, schedule, scaler, emit }: Training,
  microBatch: number,
): Promise<void> {
  const parameters = optimizer.parameters();
  const finite = scaler?.unscale(parameters) ?? null;
  if (config.TRAIN.CLIP_GRAD > 0) clipGradNorm(parameters, config.TRAIN.CLIP_GRAD)?.dispose();
  optimizer.step({ when: finite });
  optimizer.zeroGrad();
  schedule.stepUpdate(microBatch);
  if (!scaler || !finite) return;
  if ((await finite.item()) === 0) {
    const scale = await scaler.value();
    const text = `gradients overflowed float16: an update was left out, the loss scale is now ${scale}`;
    emit({ kind: 'message', text, warning: true });
  }
  finite.dispose();
}

/** What a batch is compared with: class numbers, int32 [B], or soft targets, float32 [B, K]. */
function targetsOf(batch: Batch, device: DeviceType): Tensor {
  if (!batch.targets) return tensor(batch.labels, undefined, { device });
  const count = batch.labels.length;
  return tensor(batch.targets, [count, batch.targets.length / count], { device });
}

function notFinite({ dataset }: Training, epoch: number, batch: Batch, loss: number): CodedError {
  const files = Array.from(batch.indices, (index) => dataset.at(index).location);
  return new CodedError(
    'ERR_NOT_FINITE',
    `the loss is ${loss} at epoch ${epoch}, step ${batch.index}; the parameters were left as they are. ` +
      `Try a lower TRAIN.LR, TRAIN.CLIP_GRAD 1 or TRAIN.OPT_LEVEL O0. Videos of the batch: ${files.join(', ')}`,
  );
}
