import { CodedError } from '../base/error';
import {
  type CancelToken,
  type VideoHandle,
  type VideoInfo,
  type VideoOptions,
  type VideoPlan,
  type VideoSource,
  videoAddon,
} from '../native/video';

/** Settings of one call: when it must be done, and a signal that stops it. */
export interface ReadOptions {
  /** Milliseconds (default 60000); a call that takes longer rejects with ERR_VIDEO_TIMEOUT. */
  deadlineMs?: number;
  /** Rejects the call with ERR_ABORTED. */
  signal?: AbortSignal;
}

/**
 * Exact frames of a video by number. Frame i is the i-th frame in presentation order, whatever order they are asked in;
 * pictures are RGB bytes, upright, equal to those of `ffmpeg -vf format=rgb24`. Decoding runs on worker threads of the
 * addon; calls on one reader run one after another, so open several readers to use several cores.
 *
 * @example
 * using video = await VideoReader.open('clip.mp4');
 * const frames = await video.getBatch([0, 30, 60]); // Uint8Array [3, video.height, video.width, 3]
 */
export class VideoReader {
  private constructor(
    private readonly handle: VideoHandle,
    /** Every fact about the video. */
    readonly info: Readonly<VideoInfo>,
  ) {}

  /**
   * Opens and indexes a video.
   *
   * @param source a path, a byte range of a file, or the bytes of a video file (copied).
   * @throws CodedError ERR_FILE_NOT_FOUND, ERR_FILE_READ (also a directory, FIFO or device), ERR_VIDEO_FORMAT,
   * ERR_VIDEO_EMPTY, ERR_VIDEO_DECODE (truncated), ERR_VIDEO_LIMIT, ERR_VIDEO_TIMEOUT, ERR_ABORTED, ERR_ARGUMENT.
   */
  static async open(
    source: string | Uint8Array | VideoSource,
    options: VideoOptions & ReadOptions = {},
  ): Promise<VideoReader> {
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

  /** Width in pixels, after rotation. */
  get width(): number {
    return this.info.width;
  }

  /** Height in pixels, after rotation. */
  get height(): number {
    return this.info.height;
  }

  /** Average frames per second. */
  get fps(): number {
    return this.info.fps;
  }

  /** One frame as RGB bytes [height, width, 3]. */
  get(index: number, options?: ReadOptions): Promise<Uint8Array> {
    return this.getBatch([index], options);
  }

  /**
   * Frames as RGB bytes [n, height, width, 3], in the order asked for; repeats are allowed. The video is decoded at most
   * once from its first to its last wanted frame.
   *
   * @throws CodedError ERR_FRAME_RANGE, ERR_VIDEO_DECODE (names the damaged frame and its time), ERR_VIDEO_TIMEOUT,
   * ERR_ABORTED, ERR_DISPOSED.
   */
  async getBatch(indices: ArrayLike<number>, options: ReadOptions = {}): Promise<Uint8Array> {
    const numbers = Int32Array.from(indices, (index) => this.checkIndex(index));
    const out = allocate(numbers.length * this.height * this.width * 3);
    await abortable(options.signal, (cancel) =>
      videoAddon().readFrames(this.handle, numbers, out, options.deadlineMs, cancel),
    );
    return out;
  }

  /** The frame shown at `seconds` of presentation time: the last one that starts at or before it. */
  frameAt(seconds: number, options?: ReadOptions): Promise<Uint8Array> {
    return this.get(this.indexAt(seconds), options);
  }

  /** Number of the frame shown at `seconds`; times outside the video give its first or last frame. */
  indexAt(seconds: number): number {
    if (Number.isNaN(seconds)) throw new CodedError('ERR_ARGUMENT', 'seconds must be a number, got NaN');
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
    await abortable(options.signal, (cancel) =>
      videoAddon().runPlan(this.handle, plan, out, elementOffset, options.deadlineMs, cancel),
    );
  }

  /** All frames in order, one at a time. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (let index = 0; index < this.length; index++) yield await this.get(index);
  }

  /** Releases the file and the decoder now. Calls under way reject with ERR_DISPOSED; closing twice is allowed. */
  close(): void {
    videoAddon().closeVideo(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private checkIndex(index: number): number {
    if (Number.isInteger(index) && index >= 0 && index < this.length) return index;
    throw new CodedError(
      'ERR_FRAME_RANGE',
      `frame ${index} does not exist; the video has frames 0 to ${this.length - 1}`,
    );
  }
}

function toSource(source: string | Uint8Array | VideoSource): VideoSource {
  if (typeof source === 'string') return { path: source };
  return ArrayBuffer.isView(source) ? { data: source } : source;
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

/** Runs `call` with a token that `signal` cancels. Errors get the caller's stack. */
async function abortable<T>(
  signal: AbortSignal | undefined,
  call: (cancel: CancelToken | undefined) => Promise<T>,
): Promise<T> {
  const token = signal && videoAddon().createCancelToken();
  const cancel = () => videoAddon().cancel(token!);
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await call(token);
  } catch (error) {
    if (error instanceof Error) Error.captureStackTrace(error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
