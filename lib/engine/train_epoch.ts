import { hasCode } from '../base/error';
import type { Batch } from '../data/batch';
import { native } from '../native/load';
import { reportBadSamples } from './bad_samples';
import { AverageMeter } from './meters';
import {
  accumulate,
  accumulateAgain,
  dropGradients,
  finishStep,
  type Outcome,
  type Place,
  type Training,
} from './train_step';

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
 * Steps that run as recorded work are logged when the one behind them is queued, so that the device never waits for the
 * host; the numbers are the same. Where a step beside them runs out of memory, they are given up and its group is begun
 * again: nothing differs from a run without them.
 *
 * An abort (the loader's signal) ends it at the next micro-batch: gradients since the last update are dropped, and
 * resuming at the returned `batch` repeats them, so that nothing differs from a run without the abort.
 *
 * @throws ERR_NOT_FINITE when a loss is no number, before the parameters change; what the loader throws
 */
export async function trainEpoch(training: Training, epoch: number, startBatch = 0): Promise<EpochProgress> {
  const { config, loader, optimizer, recorded } = training;
  const steps = loader.batchesPerEpoch;
  const accumulation = config.TRAIN.ACCUMULATION_STEPS;
  const log = new StepLog(training, epoch, startBatch);
  // Micro-batches that are queued and not logged yet: at most the one that the device works on and the one behind it.
  let queued: Queued[] = [];
  const settle = async (left: number) => {
    try {
      while (queued.length > left) await log.add(queued.shift()!);
    } catch (error) {
      queued = [];
      throw error;
    }
  };
  let updated = startBatch;
  try {
    for await (const batch of loader.epoch(epoch, { startBatch })) {
      const begins = batch.index % accumulation === 0;
      const ends = (batch.index + 1) % accumulation === 0 || batch.index + 1 === steps;
      const group = Math.min(accumulation, steps - Math.floor(batch.index / accumulation) * accumulation);
      const step = epoch * steps + batch.index;
      const place: Place = { epoch, step, first: updated, group, begins, ends };
      let replayed = (await recorded?.takes(training, batch, place)) ?? false;
      if (!replayed) await settle(0);
      let loss: number | undefined;
      try {
        if (replayed) recorded!.load(training, batch, place);
        else loss = await accumulate(training, batch, place);
      } catch (error) {
        await settle(0);
        if (!(await recorded?.makeRoom(training, error))) throw error;
        replayed = false;
        loss = await accumulateAgain(training, batch, place);
      }
      const outcome = replayed
        ? recorded!.run(training, batch, place)
        : Promise.resolve(await finishStep(training, place, loss));
      outcome.catch(() => {}); // of recorded work it is awaited a step later
      if (ends) updated = batch.index + 1;
      queued.push({ batch, lr: optimizer.groups[0]!.lr, outcome });
      await settle(replayed ? 1 : 0);
      await training.agree();
    }
    await settle(0);
  } catch (error) {
    try {
      await settle(0);
    } finally {
      dropGradients(training);
    }
    if (!hasCode(error, 'ERR_ABORTED')) throw error;
    return { batch: updated, aborted: true, loss: log.loss.average };
  }
  return { batch: steps, aborted: false, loss: log.loss.average };
}

/** A micro-batch whose outcome is on its way. */
interface Queued {
  batch: Batch;
  /** Learning rate of the first group after it. */
  lr: number;
  outcome: Promise<Outcome>;
}

/** Tells the listener of micro-batches in their order. */
class StepLog {
  readonly loss = new AverageMeter();
  private readonly time = new AverageMeter();
  private waited = 0;
  private last = performance.now();

  constructor(
    private readonly training: Training,
    private readonly epoch: number,
    private readonly startBatch: number,
  ) {}

  /** Waits for the outcome and reports it. @throws what went wrong in the micro-batch */
  async add({ batch, lr, outcome }: Queued): Promise<void> {
    const { config, loader, device, emit } = this.training;
    const { loss, time } = this;
    const steps = loader.batchesPerEpoch;
    reportBadSamples(batch, emit);
    const { loss: value, overflow } = await outcome;
    if (overflow !== null) {
      const text = `gradients overflowed float16: an update was left out, the loss scale is now ${overflow}`;
      emit({ kind: 'message', text, warning: true });
    }
    const now = performance.now();
    time.update((now - this.last) / 1000);
    this.last = now;
    this.waited += batch.waitSeconds;
    // An empty batch (all of its videos skipped) has no loss to count.
    if (value !== undefined) {
      loss.update(Math.fround(value / config.TRAIN.ACCUMULATION_STEPS), batch.labels.length);
    }
    emit({
      kind: 'train',
      epoch: this.epoch,
      epochs: config.TRAIN.EPOCHS,
      step: batch.index,
      steps,
      loss: loss.value,
      averageLoss: loss.average,
      lr,
      seconds: time.value,
      averageSeconds: time.average,
      dataShare: this.waited / (time.average * (batch.index + 1 - this.startBatch)),
      eta: time.average * (steps - batch.index),
      memory: native().memory(device).peakBytes,
      logged: batch.index % config.PRINT_FREQ === 0,
    });
  }
}
