import type { FileHandle } from 'node:fs/promises';
import { checkKnownOptions, type KnownOptions, kindOf } from '../base/check';
import { CodedError } from '../base/error';
import {
  type VideoHandle,
  type VideoInfo,
  type VideoOptions,
  type VideoPlan,
  type VideoSource,
  videoAddon,
} from '../native/video';
import { abortable } from './abortable';

/** Settings of one call: when it must be done, and a signal that stops it. */
export interface ReadOptions {
  /**
   * Milliseconds from the call on, the wait for calls before it on the same reader included; later it rejects with
   * ERR_VIDEO_TIMEOUT. Default: as when the video was opened, and there waiting does not count, so that many calls may be
   * made at once.
   */
  deadlineMs?: number;
  /** Rejects the call with ERR_ABORTED. */
  signal?: AbortSignal;
}

/** Settings of {@link VideoReader.getBatch}. */
export interface BatchOptions extends ReadOptions {
  /**
   * Where the frames go: exactly `indices.length * height * width * 3` bytes, not to be used until the call settles. A new
   * array when not given; a reader of many frames spares the system a lot of fresh memory by giving the same one again.
   */
  out?: Uint8Array;
}

const readKeys: KnownOptions<ReadOptions> = { deadlineMs: true, signal: true };
const batchKeys: KnownOptions<BatchOptions> = { ...readKeys, out: true };
const openKeys: KnownOptions<VideoOptions & ReadOptions> = {
  ...readKeys,
  threads: true,
  width: true,
  height: true,
  shortSide: true,
  onError: true,
  stream: true,
  maxPixels: true,
  maxFrames: true,
  maxStreams: true,
  probeBytes: true,
};

/** What {@link VideoReader} opens: a path, bytes (copied), an open file, or a byte range of a file. */
export type VideoInput = string | Uint8Array | FileHandle | VideoSource;

/** The damaged frames that a reader came across, and how often `onError` had to decide about them. */
export interface DamageReport {
  /** Their numbers. */
  readonly frames: ReadonlySet<number>;
  /** Times that one was left out. */
  readonly skipped: number;
  /** Times that another frame took the place of one. */
  readonly replaced: number;
  /**
   * Frames, ascending, that could not be decoded on the way to those asked for. Pictures behind one, up to the next key
   * frame, may show traces of it.
   */
  readonly passed: readonly number[];
}

/**
 * Exact frames of a video by number. Frame i is the i-th frame in presentation order, whatever order they are asked in;
 * pictures are RGB bytes, upright, equal to those of `ffmpeg -vf format=rgb24` (with a size, `scale=W:H,format=rgb24`).
 * Decoding runs on worker threads of the addon; calls on one reader run one after another, in the order they were made, and
 * those that wait take no thread. Open several readers to use several cores.
 *
 * @example
 * using video = await VideoReader.open('clip.mp4', { shortSide: 256 });
 * const frames = await video.getBatch([0, 30, 60]); // Uint8Array [3, video.height, video.width, 3]
 */
export class VideoReader {
  private readonly damaged = { frames: new Set<number>(), skipped: 0, replaced: 0 };
  private position = 0;

  private constructor(
    private readonly handle: VideoHandle,
    /** Every fact about the video. */
    readonly info: Readonly<VideoInfo>,
  ) {}

  /**
   * Opens and indexes a video.
   *
   * @param source a path, a byte range of a file, the bytes of a video file (copied), or an open file (duplicated, so
   * that it may be closed; its position is neither used nor moved).
   * @param options `deadlineMs` holds for opening and, unless they have their own, for all later calls; `signal` for
   * opening alone.
   * @throws CodedError ERR_FILE_NOT_FOUND, ERR_FILE_READ (also a directory, FIFO or device), ERR_FILE_IO (a bad spot on the
   * disk), ERR_SYSTEM (too many open files, a disk that is gone), ERR_VIDEO_FORMAT, ERR_VIDEO_EMPTY, ERR_VIDEO_DECODE (truncated), ERR_VIDEO_LIMIT, ERR_VIDEO_TIMEOUT, ERR_ABORTED, ERR_ARGUMENT.
   *
   * @example
   * const member = { path: 'clips.tar', offset: 1024, length: 635539 };
   * using video = await VideoReader.open(member, { width: 320, height: 240, onError: 'nearest' });
   */
  static async open(source: VideoInput, options: VideoOptions & ReadOptions = {}): Promise<VideoReader> {
    checkKnownOptions('VideoReader.open', options, openKeys);
    const { signal, ...rest } = options;
    const handle = await abortable(signal, (cancel) =>
      videoAddon().openVideo(toSource(source), rest, cancel),
    );
    return new VideoReader(handle, videoAddon().videoInfo(handle));
  }

  /** Number of frames. */
  get length(): number {
    return this.info.frameCount;
  }

  /** Width of the pictures in pixels, after rotation and scaling. */
  get width(): number {
    return this.info.width;
  }

  /** Height of the pictures in pixels, after rotation and scaling. */
  get height(): number {
    return this.info.height;
  }

  /** Average frames per second. */
  get fps(): number {
    return this.info.fps;
  }

  /** Clockwise degrees by which the stored pictures are turned: 0, 90, 180 or 270. */
  get rotation(): number {
    return this.info.rotation;
  }

  /** FFmpeg's name of the codec, such as `h264`. */
  get codec(): string {
    return this.info.codec;
  }

  /** Numbers of the key frames, ascending. */
  get keyFrames(): Int32Array {
    return this.info.keyFrames;
  }

  /** Presentation time of each frame, in seconds. */
  get timestamps(): Float64Array {
    return this.info.timestamps;
  }

  /** The damaged frames so far. */
  get damage(): DamageReport {
    return { ...this.damaged, passed: Array.from(videoAddon().videoDamage(this.handle)) };
  }

  /**
   * One frame as RGB bytes [height, width, 3].
   * @throws CodedError as {@link getBatch} does; ERR_VIDEO_DECODE also under `skip`, which leaves nothing to return
   */
  async get(index: number, options?: ReadOptions): Promise<Uint8Array> {
    const frame = await this.getBatch([index], options);
    if (frame.length > 0) return frame;
    throw new CodedError(
      'ERR_VIDEO_DECODE',
      `frame ${index} of ${this.length} cannot be decoded and is skipped; open with onError 'nearest' to get its neighbour`,
    );
  }

  /**
   * Frames as RGB bytes [n, height, width, 3], in the order asked for; repeats are allowed. Every frame is decoded at most
   * once for all of them. Under `skip`, n is smaller by the damaged ones.
   * @returns `out`, or the part of it that was filled
   *
   * @throws CodedError ERR_FRAME_RANGE, ERR_VIDEO_DECODE (names the damaged frame and its time), ERR_VIDEO_TIMEOUT,
   * ERR_FILE_READ, ERR_FILE_IO, ERR_SYSTEM, ERR_ABORTED, ERR_DISPOSED, ERR_OUT_OF_MEMORY.
   *
   * @example
   * using video = await VideoReader.open('clip.mp4');
   * const eight = Array.from({ length: 8 }, (_, i) => Math.floor(((i + 0.5) * video.length) / 8));
   * const frames = await video.getBatch(eight, { deadlineMs: 5000 });
   */
  async getBatch(indices: ArrayLike<number>, options: BatchOptions = {}): Promise<Uint8Array> {
    checkKnownOptions('getBatch', options, batchKeys);
    const numbers = this.checkIndices(indices);
    const size = this.height * this.width * 3;
    const { signal, deadlineMs, out = allocate(numbers.length * size) } = options;
    const shown = await abortable(signal, (cancel) =>
      videoAddon().readFrames(this.handle, numbers, out, deadlineMs, cancel),
    );
    this.count(numbers, shown);
    return closeGaps(out, shown, size);
  }

  /** The frame shown at `seconds` of presentation time: the last one that starts at or before it. */
  frameAt(seconds: number, options?: ReadOptions): Promise<Uint8Array> {
    return this.get(this.indexAt(seconds), options);
  }

  /** Number of the frame shown at `seconds`; times outside the video give its first or last frame. */
  indexAt(seconds: number): number {
    if (typeof seconds !== 'number' || Number.isNaN(seconds)) {
      throw new CodedError('ERR_ARGUMENT', `seconds must be a number, got ${seconds}`);
    }
    const times = this.info.timestamps;
    let low = 0;
    let high = times.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (times[middle]! <= seconds) low = middle;
      else high = middle;
    }
    return low;
  }

  /**
   * Executes a plan and writes its result into `out` from `elementOffset` on: normalised float32 [crops * T, 3, S, S] into
   * a Float32Array, bytes [crops * T, S, S, 3] into a Uint8Array.
   */
  async runPlan(
    plan: VideoPlan,
    out: Float32Array | Uint8Array,
    elementOffset = 0,
    options: ReadOptions = {},
  ): Promise<void> {
    checkKnownOptions('runPlan', options, readKeys);
    const { signal, deadlineMs } = options;
    const shown = await abortable(signal, (cancel) =>
      videoAddon().runPlan(this.handle, plan, out, elementOffset, deadlineMs, cancel),
    );
    this.count(plan.frames, shown);
  }

  /**
   * All frames in order, from the first one. The next frame is decoded while the loop works on one; nothing else runs
   * ahead. Under `skip`, damaged frames are left out.
   *
   * @example
   * using video = await VideoReader.open('clip.mp4');
   * for await (const frame of video) {
   *   console.log(frame.length); // RGB bytes [video.height, video.width, 3]
   *   video.skip(9); // every tenth frame
   * }
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    this.position = 0;
    let ahead: { index: number; frame: Promise<Uint8Array> } | undefined;
    while (this.position < this.length) {
      const index = this.position++;
      const frame = await (ahead?.index === index ? ahead.frame : this.getBatch([index]));
      const next = this.position;
      ahead = next < this.length ? { index: next, frame: this.getBatch([next]) } : undefined;
      ahead?.frame.catch(() => {}); // it is awaited in its turn, if its turn comes
      if (frame.length > 0) yield frame;
    }
  }

  /** Leaves out the next `count` frames of the iteration under way. */
  skip(count = 1): void {
    if (!Number.isInteger(count) || count < 0) {
      throw new CodedError('ERR_ARGUMENT', `count must be an integer from 0 on, got ${count}`);
    }
    this.position += count;
  }

  /** Releases the file and the decoder now. Calls under way reject with ERR_DISPOSED; closing twice is allowed. */
  close(): void {
    videoAddon().closeVideo(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private checkIndices(indices: ArrayLike<number>): Int32Array {
    if (typeof indices !== 'object' || indices === null || !Number.isInteger(indices.length)) {
      throw new CodedError('ERR_ARGUMENT', `indices must be an array of frame numbers, got ${indices}`);
    }
    return Int32Array.from(indices, (index) => this.checkIndex(index));
  }

  private checkIndex(index: number): number {
    if (Number.isInteger(index) && index >= 0 && index < this.length) return index;
    throw new CodedError(
      'ERR_FRAME_RANGE',
      `frame ${index} does not exist; the video has frames 0 to ${this.length - 1}`,
    );
  }

  private count(asked: ArrayLike<number>, shown: Int32Array): void {
    shown.forEach((frame, place) => {
      if (frame === asked[place]) return;
      this.damaged.frames.add(asked[place]!);
      if (frame < 0) this.damaged.skipped++;
      else this.damaged.replaced++;
    });
  }
}

function toSource(source: VideoInput): VideoSource {
  if (typeof source === 'string') return { path: source };
  if (ArrayBuffer.isView(source)) return { data: source };
  const isObject = typeof source === 'object' && source !== null;
  if (isObject && Symbol.asyncIterator in source) {
    const remedy = 'give its path, or its bytes: await buffer(stream), from node:stream/consumers';
    throw new CodedError(
      'ERR_ARGUMENT',
      `a video is read back and forth, which a stream cannot be; ${remedy}`,
    );
  }
  if (!isObject || !('fd' in source || 'path' in source || 'data' in source)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `a video is opened by its path, its bytes (Uint8Array), an open file, or { path, offset, length }; got ${kindOf(source)}`,
    );
  }
  return 'fd' in source ? withDescriptor(source) : source;
}

/** A file handle has its descriptor as a getter, and -1 once it is closed. */
function withDescriptor(source: { fd: number; offset?: number; length?: number }): VideoSource {
  const { fd, offset, length } = source;
  if (fd === -1) throw new CodedError('ERR_FILE_READ', 'the file handle was closed; open it again');
  return { fd, offset, length };
}

function allocate(bytes: number): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new CodedError(
      'ERR_OUT_OF_MEMORY',
      `${bytes} bytes of frames do not fit; ask for fewer at a time`,
      { cause },
    );
  }
}

/** Moves the pictures of `size` bytes together over the places that nothing is shown in. */
function closeGaps(frames: Uint8Array, shown: Int32Array, size: number): Uint8Array {
  let count = 0;
  shown.forEach((frame, place) => {
    if (frame < 0) return;
    if (count < place) frames.copyWithin(count * size, place * size, (place + 1) * size);
    count++;
  });
  return count === shown.length ? frames : frames.subarray(0, count * size);
}
