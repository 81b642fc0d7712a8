import { checkKnownOptions, type KnownOptions } from '../base/check';
import { usableCores } from '../base/cores';
import { CodedError } from '../base/error';
import { Philox, streamOf } from '../base/philox';
import type { VideoOptions } from '../native/video';
import { controllerUnder } from './abortable';
import { Limiter } from './limiter';
import { type VideoInput, VideoReader } from './video_reader';

/**
 * The order of batches: `none`, as the files and their frames come; `files`, files in random order, each from its start to
 * its end (the fastest kind of shuffling: nothing is decoded twice); `frames`, files in order, the batches of each in random
 * order; `all`, all batches of all files in one random order.
 */
export type FrameShuffle = 'none' | 'files' | 'frames' | 'all';

/** Settings of a {@link FrameLoader}. */
export interface FrameLoaderOptions
  extends Pick<VideoOptions, 'threads' | 'deadlineMs' | 'maxPixels' | 'onError'> {
  /** Frames in a batch; all of one file. A rest of a file that does not fill a batch is left out. */
  batchSize: number;
  /** Size of the pictures in pixels, the same for all files. */
  width: number;
  height: number;
  /** Frames left out between two of a batch (default 0). */
  interval?: number;
  /** Frames left out between two batches (default 0). */
  skip?: number;
  /** Default `none`. */
  shuffle?: FrameShuffle;
  /** Together with the epoch, the source of the order (default 0). */
  seed?: number;
  /** Batches decoded ahead of the consumer (default 2): at the same time where they are of several files. */
  prefetchBatches?: number;
  /** Stops the counting of frames, and loading; both then throw ERR_ABORTED. */
  signal?: AbortSignal;
}

const keys: KnownOptions<FrameLoaderOptions> = {
  batchSize: true,
  width: true,
  height: true,
  interval: true,
  skip: true,
  shuffle: true,
  seed: true,
  prefetchBatches: true,
  threads: true,
  deadlineMs: true,
  maxPixels: true,
  onError: true,
  signal: true,
};

/** Frames of one file. */
export interface FrameBatch {
  /** RGB bytes [n, height, width, 3]; n is `batchSize`, or less by the damaged frames under `skip`. */
  frames: Uint8Array;
  /** Which of the sources they are from. */
  file: number;
  /** The numbers of the frames that were asked for. */
  indices: number[];
}

/** A batch to be read. */
interface Place {
  file: number;
  first: number;
}

/**
 * Batches of frames out of many videos, in decord's manner: every file is cut into runs of `batchSize` frames, which come
 * in one of four orders. An order depends on (seed, epoch) alone. Few files are open at a time.
 *
 * @example
 * const loader = await FrameLoader.open(['a.mp4', 'b.mp4'], { batchSize: 8, width: 320, height: 240, shuffle: 'all' });
 * for await (const { frames, file, indices } of loader.epoch(0)) {
 *   console.log(file, indices, frames.length); // RGB bytes [8, 240, 320, 3]
 * }
 */
export class FrameLoader {
  /** Number of batches in an epoch. */
  readonly length: number;

  private constructor(
    private readonly sources: readonly VideoInput[],
    private readonly options: FrameLoaderOptions,
    /** Batches in each file. */
    private readonly batches: readonly number[],
  ) {
    this.length = batches.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Counts the frames of every file, as many at a time as there are cores.
   * @throws CodedError what {@link VideoReader.open} throws, for any of the files; ERR_ARGUMENT
   */
  static async open(sources: readonly VideoInput[], options: FrameLoaderOptions): Promise<FrameLoader> {
    checkKnownOptions('FrameLoader.open', options, keys);
    const {
      batchSize,
      width,
      height,
      interval = 0,
      skip = 0,
      prefetchBatches = 2,
      shuffle = 'none',
    } = options;
    if (!Array.isArray(sources)) {
      throw new CodedError('ERR_ARGUMENT', `sources must be an array of videos, got ${sources}`);
    }
    checkInteger('batchSize', batchSize, 1);
    checkInteger('width', width, 1);
    checkInteger('height', height, 1);
    checkInteger('seed', options.seed ?? 0, 0);
    checkInteger('interval', interval, 0);
    checkInteger('skip', skip, 0);
    checkInteger('prefetchBatches', prefetchBatches, 1);
    if (!['none', 'files', 'frames', 'all'].includes(shuffle)) {
      throw new CodedError('ERR_ARGUMENT', `shuffle must be none, files, frames or all, got '${shuffle}'`);
    }
    const limiter = new Limiter(usableCores());
    const abort = controllerUnder(options.signal);
    const { signal } = abort;
    const counts = await Promise.allSettled(
      sources.map((source) =>
        limiter.run(async () => {
          try {
            using video = await VideoReader.open(source, { ...readerOptions(options), signal });
            return video.length;
          } catch (error) {
            abort.abort(); // the others are not worth their time any more
            throw error;
          }
        }),
      ),
    );
    abort.abort();
    const failures = counts.filter((count) => count.status === 'rejected').map(({ reason }) => reason);
    if (failures.length > 0) throw failures.find(({ code }) => code !== 'ERR_ABORTED') ?? failures[0];
    const run = runLength(options);
    const batches = counts.map((count) => {
      const frames = (count as PromiseFulfilledResult<number>).value;
      return frames < run ? 0 : 1 + Math.floor((frames - run) / (run + skip));
    });
    return new FrameLoader(sources, options, batches);
  }

  /** The batches of epoch 0. */
  [Symbol.asyncIterator](): AsyncGenerator<FrameBatch, void, undefined> {
    return this.epoch(0);
  }

  /** The batches of one epoch. Leaving the loop early stops the work under way. */
  async *epoch(epoch: number): AsyncGenerator<FrameBatch, void, undefined> {
    checkInteger('epoch', epoch, 0);
    const { prefetchBatches = 2, signal: outer } = this.options;
    const abort = controllerUnder(outer);
    const { signal } = abort;
    const videos = new OpenVideos(
      (file) => VideoReader.open(this.sources[file]!, { ...readerOptions(this.options), signal }),
      prefetchBatches + 1,
    );
    const order = this.order(epoch);
    const pending: Promise<FrameBatch>[] = [];
    let next = 0;
    try {
      for (let step = 0; step < order.length; step++) {
        for (; next < order.length && pending.length < prefetchBatches; next++) {
          const batch = this.read(videos, order[next]!, signal);
          batch.catch(() => {}); // it is awaited in its turn
          pending.push(batch);
        }
        yield await pending.shift()!;
      }
    } finally {
      abort.abort();
      await Promise.allSettled(pending);
      videos.close(0);
    }
  }

  private async read(videos: OpenVideos, { file, first }: Place, signal: AbortSignal): Promise<FrameBatch> {
    const { batchSize, interval = 0 } = this.options;
    const indices = Array.from({ length: batchSize }, (_, i) => first + i * (interval + 1));
    const frames = await videos.use(file, (video) => video.getBatch(indices, { signal }));
    return { frames, file, indices };
  }

  private order(epoch: number): Place[] {
    const { shuffle = 'none', seed = 0, skip = 0 } = this.options;
    const random = new Philox(seed, streamOf(epoch, 0));
    const step = runLength(this.options) + skip;
    const numbers = (count: number, shuffled: boolean) =>
      shuffled ? random.permutation(count) : Array.from({ length: count }, (_, i) => i);
    const places = numbers(this.batches.length, shuffle === 'files').flatMap((file) =>
      numbers(this.batches[file]!, shuffle === 'frames').map((batch) => ({ file, first: batch * step })),
    );
    return numbers(places.length, shuffle === 'all').map((i) => places[i]!);
  }
}

/** The readers of an epoch: those in use, and of the others the ones used last, `capacity` in all. */
class OpenVideos {
  /** By file, in the order of their last use. */
  private readonly entries = new Map<number, { reader: Promise<VideoReader>; users: number }>();

  constructor(
    private readonly open: (file: number) => Promise<VideoReader>,
    private readonly capacity: number,
  ) {}

  async use<T>(file: number, call: (video: VideoReader) => Promise<T>): Promise<T> {
    const entry = this.entries.get(file) ?? { reader: this.open(file), users: 0 };
    this.entries.delete(file);
    this.entries.set(file, entry);
    entry.users++;
    try {
      return await call(await entry.reader);
    } finally {
      entry.users--;
      this.close(this.capacity);
    }
  }

  /** Closes those not in use, the ones used last least willingly, until `most` are left. */
  close(most: number): void {
    for (const [file, { reader, users }] of this.entries) {
      if (this.entries.size <= most) return;
      if (users > 0) continue;
      this.entries.delete(file);
      reader.then(
        (video) => video.close(),
        () => {}, // its user knows
      );
    }
  }
}

/** Frames from the first to the last of a batch. */
function runLength({ batchSize, interval = 0 }: FrameLoaderOptions): number {
  return (batchSize - 1) * (interval + 1) + 1;
}

function readerOptions(options: FrameLoaderOptions): VideoOptions {
  const { width, height, threads, deadlineMs, maxPixels, onError } = options;
  return { width, height, threads, deadlineMs, maxPixels, onError };
}

function checkInteger(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new CodedError('ERR_ARGUMENT', `${name} must be an integer from ${least} on, got ${value}`);
  }
}
