import { throwIfAborted, withReason } from '../base/abort';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { usableCores } from '../base/cores';
import { CodedError } from '../base/error';
import { SCHEMA } from '../config/schema';
import { type CancelToken, type VideoAddon, videoAddon } from '../native/video';
import { BadShare } from './bad_share';
import { Batch, BufferRing, type SampleFailure } from './batch';
import { type BatchPixels, DecodedFrames, NormalizedPixels } from './batch_pixels';
import { Limiter } from './limiter';
import { drawMix, type MixOptions, mixKeys, mixTargets, smoothTargets } from './mixup';
import type { Planner } from './plan';
import { mixRandom, orderRandom } from './random';
import { type LoadedRow, type OnError, SampleLoader } from './sample_loader';
import type { VideoDataset } from './video_dataset';

/** Settings of a {@link VideoLoader}. */
export interface LoaderOptions {
  dataset: VideoDataset;
  /** Makes the plan of each sample and fixes its shape. */
  planner: Planner;
  /** Samples per batch on this rank, B. */
  batchSize: number;
  /** Together with epoch and index, the source of every draw. */
  seed: number;
  /**
   * true: a new order each epoch, full batches only (as the reference: the rest of the epoch's samples is left out).
   * false: the order of the list, every video exactly once over all ranks, the last batch may be short.
   */
  training: boolean;
  /** Mixup and cutmix, in training only; makes {@link Batch.targets}. */
  mix?: MixOptions;
  /** How {@link Batch.targets} are made without mixing; asked for in training on videos with several labels. */
  multiLabel?: Pick<MixOptions, 'numClasses' | 'smoothing'>;
  /**
   * `fail`: the first bad video ends the epoch. `skip`: its row is left out, so a batch may be short or even empty.
   * `substitute`: the next video takes its place; in evaluation, where that would count a video twice, it skips.
   */
  onError: OnError;
  /**
   * Where resize, crop, jitter, normalisation and mixing happen: on the `host` (default), while decoding; or on the
   * `device` that {@link Batch.tensor} is asked for, to the same numbers, so that decoding need only ship bytes.
   */
  pixelWork?: 'host' | 'device';
  /** This process among `worldSize` (default 0 of 1). */
  rank?: number;
  worldSize?: number;
  /** Batches prepared ahead of the consumer (default 2). */
  prefetchBatches?: number;
  /** Videos open at once (default twice the number of cores). Results do not depend on it. */
  openVideos?: number;
  /**
   * Under `skip` and `substitute`: the share of an epoch's videos, below 1, that may be bad (default 0.5); with more the
   * epoch ends with ERR_BAD_VIDEOS.
   */
  maxBadShare?: number;
  /** Milliseconds for opening a video, and again for decoding it (default 60000). */
  deadlineMs?: number;
  /** Stops loading; the iteration then throws ERR_ABORTED. */
  signal?: AbortSignal;
}

const keys: KnownOptions<LoaderOptions> = {
  dataset: true,
  planner: true,
  batchSize: true,
  seed: true,
  training: true,
  mix: true,
  multiLabel: true,
  onError: true,
  pixelWork: true,
  rank: true,
  worldSize: true,
  prefetchBatches: true,
  openVideos: true,
  maxBadShare: true,
  deadlineMs: true,
  signal: true,
};

/**
 * Prepares batches ahead of the consumer, on the worker threads of the decode addon. A batch is a function of
 * (seed, epoch, batch number) alone: the same with any number of workers, and when an epoch starts in its middle.
 *
 * @example
 * const loader = new VideoLoader({ dataset, planner, batchSize: 8, seed: 1024, training: true, onError: 'fail' });
 * for await (const batch of loader.epoch(3, { startBatch: 10 })) {
 *   step(batch.frames, batch.shape, batch.labels);
 *   batch.release();
 * }
 */
export class VideoLoader {
  /** Number of batches in an epoch, the same on every rank in training. */
  readonly batchesPerEpoch: number;
  /**
   * Sums over all epochs: batches and samples handed over, seconds the consumer waited for them, and how often a sample
   * failed or came from a video with damaged frames.
   */
  readonly counters = { batches: 0, samples: 0, waitSeconds: 0, failed: 0, damaged: 0 };

  private readonly failuresByIndex = new Map<number, SampleFailure>();

  private readonly addon: VideoAddon;
  private readonly samples: SampleLoader;
  private readonly ring: BufferRing;
  private readonly limiter: Limiter;
  /** How {@link Batch.targets} are made; undefined when labels say all. */
  private readonly softTargets: LoaderOptions['multiLabel'];
  private readonly prefetch: number;
  private readonly rank: number;
  private readonly worldSize: number;

  constructor(private readonly options: LoaderOptions) {
    checkKnownOptions('VideoLoader', options, keys);
    if (options.mix) checkKnownOptions('VideoLoader: mix', options.mix, mixKeys);
    if (options.multiLabel)
      checkKnownOptions('VideoLoader: multiLabel', options.multiLabel, { numClasses: true, smoothing: true });
    const { dataset, planner, batchSize, training, onError } = options;
    this.rank = options.rank ?? 0;
    this.worldSize = options.worldSize ?? 1;
    this.prefetch = options.prefetchBatches ?? 2;
    checkCount('batchSize', batchSize, 1);
    checkCount('seed', options.seed, 0);
    checkCount('worldSize', this.worldSize, 1);
    checkCount('rank', this.rank, 0, this.worldSize - 1);
    checkCount('prefetchBatches', this.prefetch, 1);
    checkCount('openVideos', options.openVideos ?? 1, 1);
    if (training) this.softTargets = options.mix ?? (dataset.isMultiLabel ? options.multiLabel : undefined);
    if (training && dataset.isMultiLabel && !this.softTargets) {
      throw new CodedError('ERR_ARGUMENT', 'training on videos with several labels needs multiLabel or mix');
    }
    this.batchesPerEpoch = training
      ? Math.floor(Math.ceil(dataset.length / this.worldSize) / batchSize)
      : Math.ceil(Math.max(0, dataset.length - this.rank) / this.worldSize / batchSize);
    this.addon = videoAddon();
    this.samples = new SampleLoader({
      addon: this.addon,
      dataset,
      planner,
      seed: options.seed,
      onError: onError === 'substitute' && !training ? 'skip' : onError,
      deadlineMs: options.deadlineMs ?? 1000 * SCHEMA.DATA.DEADLINE.default,
    });
    const sampleSize = planner.shape.reduce((a, b) => a * b, 1);
    this.ring = new BufferRing(batchSize * sampleSize, this.prefetch + 1);
    this.limiter = new Limiter(options.openVideos ?? 2 * usableCores());
  }

  /** Every video that failed so far, once, as it last did. */
  get failures(): SampleFailure[] {
    return [...this.failuresByIndex.values()];
  }

  /**
   * The batches of one epoch in order, from `startBatch` on. Leaving the loop early stops the work under way.
   * @throws under `fail`, the error of a bad video; under `skip` and `substitute`, ERR_BAD_VIDEOS for too many; ERR_SYSTEM,
   *   ERR_OUT_OF_MEMORY, ERR_ABORTED
   */
  async *epoch(epoch: number, options: { startBatch?: number } = {}): AsyncGenerator<Batch, void, undefined> {
    checkKnownOptions('epoch', options, { startBatch: true });
    const { startBatch = 0 } = options;
    checkCount('epoch', epoch, 0);
    checkCount('startBatch', startBatch, 0);
    const { signal, batchSize, dataset, maxBadShare = SCHEMA.DATA.MAX_BAD_SHARE.default } = this.options;
    const cancel = this.addon.createCancelToken();
    const stop = () => this.addon.cancel(cancel);
    signal?.addEventListener('abort', stop);
    const order = this.order(epoch);
    const total = Math.min(order.length, this.batchesPerEpoch * batchSize) - startBatch * batchSize;
    const share = new BadShare(maxBadShare, total, dataset.root ?? 'the archives of the list');
    const pending: Promise<Batch>[] = [];
    let next = startBatch;
    const fill = () => {
      while (next < this.batchesPerEpoch && pending.length < this.prefetch) {
        const batch = this.makeBatch(epoch, next++, order, cancel);
        batch.catch(() => {}); // it is awaited in its turn; a failure ahead of that is not unhandled
        pending.push(batch);
      }
    };
    try {
      fill();
      while (pending.length > 0) {
        throwIfAborted(signal);
        const started = performance.now();
        const batch = await pending.shift()!;
        throwIfAborted(signal);
        fill();
        this.count(batch, (performance.now() - started) / 1000);
        share.add(batch.indices.length, batch.failed);
        yield batch;
      }
    } catch (error) {
      throw withReason(error, signal);
    } finally {
      signal?.removeEventListener('abort', stop);
      stop();
      for (const left of await Promise.allSettled(pending)) {
        if (left.status === 'fulfilled') left.value.release();
      }
    }
  }

  /**
   * One batch of an epoch by itself, the same as {@link VideoLoader.epoch} gives; no counter counts it.
   * @throws as {@link VideoLoader.epoch}, but for ERR_BAD_VIDEOS
   */
  async batch(epoch: number, index: number): Promise<Batch> {
    checkCount('epoch', epoch, 0);
    checkCount('index', index, 0, this.batchesPerEpoch - 1);
    const { signal } = this.options;
    const cancel = this.addon.createCancelToken();
    const stop = () => this.addon.cancel(cancel);
    signal?.addEventListener('abort', stop);
    try {
      throwIfAborted(signal);
      return await this.makeBatch(epoch, index, this.order(epoch), cancel);
    } catch (error) {
      throw withReason(error, signal);
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  /**
   * Sample indices of this rank. Ranks take turns along the epoch's order; in training the order is filled up from its
   * start until it divides by the number of ranks.
   */
  private order(epoch: number): number[] {
    const { dataset, seed, training } = this.options;
    const count = dataset.length;
    const global = training
      ? orderRandom(seed, epoch).permutation(count)
      : Array.from({ length: count }, (_, i) => i);
    const total = training ? Math.ceil(count / this.worldSize) * this.worldSize : count;
    const own: number[] = [];
    for (let position = this.rank; position < total; position += this.worldSize)
      own.push(global[position % count]!);
    return own;
  }

  private async makeBatch(epoch: number, step: number, order: number[], cancel: CancelToken): Promise<Batch> {
    const { batchSize } = this.options;
    const pixels = this.makePixels();
    const indices = order.slice(step * batchSize, (step + 1) * batchSize);
    const rows = await Promise.allSettled(
      indices.map((index, row) =>
        this.limiter.run(() => this.samples.load(index, epoch, (sample) => pixels.read(row, sample), cancel)),
      ),
    );
    const loaded = rows.map((row) => {
      if (row.status === 'fulfilled') return row.value;
      pixels.release();
      throw row.reason;
    });
    return this.finish(epoch, step, pixels, loaded);
  }

  private makePixels(): BatchPixels {
    const { shape } = this.options.planner;
    if (this.options.pixelWork === 'device') return new DecodedFrames(shape);
    return new NormalizedPixels(this.ring.take(), shape, this.ring.give);
  }

  /** Closes the gaps of skipped rows, attaches labels and mixes. */
  private async finish(epoch: number, step: number, pixels: BatchPixels, rows: LoadedRow[]): Promise<Batch> {
    const { dataset, planner, mix, seed } = this.options;
    const filled = rows.flatMap(({ index }, row) => (index === undefined ? [] : [{ index, row }]));
    const indices = filled.map(({ index }) => index);
    pixels.keep(filled.map(({ row }) => row));
    const labelSets = indices.map((index) => dataset.at(index).labels);
    const labels = Int32Array.from(labelSets, (own) => own[0]!);
    const soft = this.softTargets;
    let targets = soft && smoothTargets(labelSets, soft.numClasses, soft.smoothing);
    if (mix && targets) {
      const [height, width] = planner.shape.slice(-2) as [number, number];
      const random = mixRandom(seed, epoch, step * this.worldSize + this.rank);
      const drawn = drawMix(mix, indices.length, width, height, random);
      targets = mixTargets(targets, drawn);
      await pixels.mix(drawn);
    }
    return new Batch(
      step,
      pixels,
      [indices.length, ...planner.shape],
      labels,
      labelSets,
      Int32Array.from(indices),
      targets,
      rows.flatMap((row) => row.failed),
      rows.flatMap((row) => row.damage ?? []),
    );
  }

  private count(batch: Batch, waitSeconds: number): void {
    batch.waitSeconds = waitSeconds;
    for (const failure of batch.failed) this.failuresByIndex.set(failure.index, failure);
    this.counters.failed += batch.failed.length;
    this.counters.damaged += batch.damaged.length;
    this.counters.batches++;
    this.counters.samples += batch.labels.length;
    this.counters.waitSeconds += waitSeconds;
  }
}

function checkCount(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `in ${least}..${most}`;
    throw new CodedError('ERR_ARGUMENT', `${name} must be an integer ${range}, got ${value}`);
  }
}
