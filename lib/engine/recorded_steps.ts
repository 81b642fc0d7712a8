import { type CodedError, hasCode } from '../base/error';
import { streamOf } from '../base/philox';
import type { Batch } from '../data/batch';
import { emptyCache, synchronize } from '../native/device';
import { add, mul } from '../ops/binary';
import { full } from '../ops/copy';
import { allFinite } from '../ops/tensor_list';
import { StepGraph } from '../optim/step_graph';
import { noGrad } from '../tensor/autograd';
import { type Disposable, keep, scope } from '../tensor/scope';
import { type Tensor, tensor } from '../tensor/tensor';
import {
  dropGradients,
  finishGradients,
  forwardBackward,
  notFinite,
  type Outcome,
  type Place,
  type Training,
  targetsOf,
} from './train_step';

/** Updates that run as they are before a step is recorded: they load kernels and make what is made once. */
const EAGER_UPDATES = 2;

/** What a recorded step reads and writes besides the model; made before it and outside its memory. */
interface Fixed {
  /** float32 [B, T, 3, H, W] */
  frames: Tensor;
  /** int32 [B] or float32 [B, K] */
  targets: Tensor;
  /** int64 [], the Philox stream of the micro-batch's first draw */
  stream: Tensor;
  /** float32 [], of the last micro-batch */
  loss: Tensor;
  /** float32 [], 0; NaN from the first loss on that is no number, and from there on no update is made */
  health: Tensor;
  /** int32 [], whether the last update was made */
  made: Tensor;
}

/**
 * Training steps as recorded work: full micro-batches of full groups are replayed with one call each, the host stays a
 * step ahead of the device, and what it wants to know arrives while the next step runs. Numbers are those of
 * {@link accumulate} and {@link finishStep}, bit for bit; so the two may take turns from group to group, and within a
 * group that began recorded.
 */
export class RecordedSteps implements Disposable {
  private graph: StepGraph | null = null;
  private fixed: Fixed | null = null;
  private updates = 0;
  private refused = false;

  /** @param training given at each call, because this is a part of it */
  async takes(training: Training, batch: Batch, { group, begins, ends }: Place): Promise<boolean> {
    const { BATCH_SIZE, ACCUMULATION_STEPS } = training.config.TRAIN;
    const full = batch.shape[0] === BATCH_SIZE && group === ACCUMULATION_STEPS;
    if (!this.graph && full && begins && this.updates >= EAGER_UPDATES && !this.refused) {
      await this.record(training, batch);
    }
    if (this.graph && full && (begins || this.graph.holdsGradients)) return true;
    if (ends) this.updates++;
    return false;
  }

  private async record(training: Training, batch: Batch): Promise<void> {
    const { emit, config } = training;
    const fixed = makeFixed(training, batch);
    try {
      this.graph = await StepGraph.record(workOf(training, fixed), {
        device: training.device,
        accumulation: config.TRAIN.ACCUMULATION_STEPS,
      });
      this.fixed = fixed;
      const text = `from here on, steps of ${batch.shape[0]} videos are CUDA graphs (TRAIN.CUDA_GRAPH)`;
      emit({ kind: 'message', text });
    } catch (error) {
      release(fixed);
      if (!hasCode(error, 'ERR_DEVICE') && !hasCode(error, 'ERR_OUT_OF_MEMORY')) throw error;
      this.refused = true;
      const { message } = error as CodedError;
      const text = `training goes on without CUDA graphs, because the step could not be recorded: ${message}`;
      emit({ kind: 'message', text, warning: true, code: 'CUDA_GRAPH_REFUSED' });
    }
  }

  /** Whether there are recordings, whose memory no other work can use. */
  get holdsMemory(): boolean {
    return this.graph !== null;
  }

  /**
   * Gives the recordings up for good when work beside them has run out of memory, which is to be done again then: they
   * hold what that work needs. Gradients since the last update are dropped.
   *
   * @returns false when it is another error, or there is nothing to give up
   */
  async makeRoom(training: Training, error: unknown): Promise<boolean> {
    if (!this.holdsMemory || !hasCode(error, 'ERR_OUT_OF_MEMORY')) return false;
    const { device, emit } = training;
    // More of the failed work may have found no memory, which the next wait would be told.
    await synchronize(device).catch((later) => {
      if (!hasCode(later, 'ERR_OUT_OF_MEMORY')) throw later;
    });
    dropGradients(training);
    this.dispose();
    this.refused = true;
    emptyCache(device);
    const text =
      'the rest of the run goes without CUDA graphs, because work beside them needed their memory ' +
      `(TRAIN.CUDA_GRAPH False makes none): ${(error as CodedError).message}`;
    emit({ kind: 'message', text, warning: true, code: 'CUDA_GRAPH_GIVEN_UP' });
    return true;
  }

  /**
   * Puts a micro-batch that {@link takes} has taken where {@link run} reads it, and releases it. The upload runs beside the
   * step before; it lies in memory of its own until that has read its input.
   *
   * @throws ERR_OUT_OF_MEMORY, see {@link makeRoom}
   */
  load({ device }: Training, batch: Batch, { step }: Place): void {
    const { frames, targets, stream } = this.fixed!;
    scope(() => {
      frames.assign(batch.tensor(device));
      targets.assign(targetsOf(batch, device));
      stream.assign(tensor(BigInt64Array.of(BigInt(streamOf(step, 0))), [], { device }));
    });
    batch.release();
  }

  /**
   * Queues a micro-batch that is loaded, and the update behind it.
   *
   * @returns what became of it, once the device has run it
   */
  run(training: Training, batch: Batch, place: Place): Promise<Outcome> {
    const { schedule, scaler } = training;
    const { loss, made } = this.fixed!;
    const graph = this.graph!;
    graph.accumulate();
    const value = loss.item();
    let overflow: Promise<number | null> = Promise.resolve(null);
    if (place.ends) {
      graph.update();
      schedule.stepUpdate(place.step);
      if (scaler) overflow = overflowOf(made.item(), scaler.value());
    }
    overflow.catch(() => {}); // a loss that is no number comes first
    return value.then(async (number) => {
      if (!Number.isFinite(number)) throw notFinite(training, place.epoch, batch, number);
      return { loss: number, overflow: await overflow };
    });
  }

  dropGradients(): void {
    this.graph?.dropGradients();
  }

  /** Releases the recordings and their memory. Idempotent. */
  dispose(): void {
    this.graph?.dispose();
    this.graph = null;
    if (this.fixed) release(this.fixed);
    this.fixed = null;
  }
}

async function overflowOf(made: Promise<number>, scale: Promise<number>): Promise<number | null> {
  const [was, value] = await Promise.all([made, scale]);
  return was === 1 ? null : value;
}

function makeFixed({ device }: Training, batch: Batch): Fixed {
  return scope(() => ({
    frames: keep(batch.tensor(device)),
    targets: keep(targetsOf(batch, device)),
    stream: keep(full([], 0, { dtype: 'int64', device })),
    loss: keep(full([], 0, { device })),
    health: keep(full([], 0, { device })),
    made: keep(full([], 1, { dtype: 'int32', device })),
  }));
}

function release(fixed: Fixed): void {
  for (const own of Object.values(fixed) as Tensor[]) own.dispose();
}

function workOf(training: Training, { frames, targets, stream, loss, health, made }: Fixed) {
  const { config, optimizer, seed } = training;
  const mode = { training: true, seed, step: 0, stream, checkpoint: config.TRAIN.USE_CHECKPOINT };
  const input = { frames, targets, mode, group: config.TRAIN.ACCUMULATION_STEPS };
  return {
    optimizer,
    accumulate: () =>
      forwardBackward(training, input, (value) =>
        noGrad(() => {
          loss.assign(value);
          health.assign(mul(add(health, value), 0));
        }),
      ),
    update: () =>
      scope(() => {
        const finite = finishGradients(training, [health]) ?? allFinite([health]);
        made.assign(finite);
        optimizer.apply({ when: finite });
      }),
  };
}
