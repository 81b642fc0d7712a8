import { join } from 'node:path';
import { usableCores } from '../base/cores';
import { CodedError } from '../base/error';
import { loadAddon, packageRoot, prebuiltAddon } from './load';

/**
 * What to open: a regular file by its path or by a descriptor (duplicated; its position is neither used nor moved), a byte
 * range of one (a member of a tar, say), or bytes in memory (copied).
 */
export type VideoSource =
  | { path: string; offset?: number; length?: number }
  | { fd: number; offset?: number; length?: number }
  | { data: Uint8Array };

/** Limits and settings of one video. */
export interface VideoOptions {
  /** Decoder threads of this video (default 1: videos, not frames, are decoded in parallel). */
  threads?: number;
  /** Milliseconds that opening may take, and each call on the video that has no deadline of its own (default 60000). */
  deadlineMs?: number;
  /**
   * Size in pixels of the pictures, after rotation (default: that of the video). One side gives the other in proportion.
   * Pictures are scaled, bicubic and antialiased, in the pass that converts their colours. (The pixels of the reference
   * recipe are those of a resize of the full-size picture instead: the `resize` of a {@link VideoPlan}.)
   */
  width?: number;
  height?: number;
  /** Pixels of the shorter side, in place of `width` and `height`. */
  shortSide?: number;
  /**
   * A frame that cannot be decoded: `error` (default) fails the call with ERR_VIDEO_DECODE, `skip` leaves the frame out
   * (but of plans, which then fail), `nearest` puts the nearest sound frame in its place, of two the earlier.
   */
  onError?: 'error' | 'skip' | 'nearest';
  /** Largest number of pixels in a picture (default 2^26, as 8192 x 8192). A decoder holds up to 17 or so. */
  maxPixels?: number;
  /** Largest number of frames, of which the index takes some 60 bytes each (default 2^23). */
  maxFrames?: number;
  /** Largest number of streams in the container (default 64). */
  maxStreams?: number;
  /** Bytes that are read at most to find the streams, where the header does not tell (default 5,000,000). */
  probeBytes?: number;
  /** Stream index in the container (default: the best video stream). */
  stream?: number;
}

/** Facts of an open video. */
export interface VideoInfo {
  /** Number of frames; frame i is the i-th in presentation order. */
  frameCount: number;
  /** Size in pixels of the pictures, after rotation and scaling. */
  width: number;
  height: number;
  /** Average frames per second. */
  fps: number;
  /** Clockwise degrees by which the stored pictures are turned for showing: 0, 90, 180 or 270. */
  rotation: number;
  /** FFmpeg's name of the codec, such as `h264`. */
  codec: string;
  durationSeconds: number;
  /** Frame numbers of the key frames, ascending. */
  keyFrames: Int32Array;
  /** Presentation time of each frame, in seconds. */
  timestamps: Float64Array;
}

/** Factors of one frame's colour jitter, in the arithmetic of Pillow's ImageEnhance. */
export interface FrameJitter {
  /** The order of the operations: 0 brightness, 1 contrast, 2 saturation, 3 hue; each at most once. */
  order: number[];
  brightness: number;
  contrast: number;
  saturation: number;
  /** Turn of the hue, in [-0.5, 0.5] of a full circle. */
  hue: number;
}

/**
 * Everything done to a video to make one sample, with every random draw already made. Order of work: decode, `resize`,
 * crop, resize to `size`, `flip`, `jitter`, `gray`, normalise.
 */
export interface VideoPlan {
  /** T frame numbers in presentation order; any order, repeats allowed. */
  frames: ArrayLike<number>;
  /** [width, height] of the whole picture after the first resize, or null to keep the video's size. */
  resize: [number, number] | null;
  /** Boxes [x, y, width, height] in the resized picture; each is applied to all T frames. */
  crops: [number, number, number, number][];
  /** S, or [width, height], of the result; a crop of another size is resized to it. */
  size: number | [number, number];
  /** Mirror left and right. */
  flip: boolean;
  /** Colour jitter of each of the T frames, or null. */
  jitter: FrameJitter[] | null;
  /** Replace the colours by their luma. */
  gray: boolean;
  /** Per channel (red, green, blue), on the scale 0..255: result = (value - mean) / std. */
  mean: [number, number, number];
  std: [number, number, number];
}

/** What was encoded. */
export interface EncodeResult {
  /** `mpeg4` also where `h264` was asked for and libavcodec has no encoder for it. */
  codec: string;
  frameCount: number;
}

/** Settings of the encoder. */
export interface EncodeOptions {
  /** Size in pixels; both even. */
  width: number;
  height: number;
  /** Frames per second. */
  fps: number;
  /** Default `h264`; where libavcodec has no H.264 encoder, MPEG-4 part 2 is written, and the result says so. */
  codec?: 'h264' | 'mpeg4';
  /** Distance of key frames (default 12). */
  gop?: number;
  /** Number of consecutive B-frames (default 0). */
  bFrames?: number;
  /** Bits per second; takes the place of `quality`. */
  bitrate?: number;
  /** Constant quality, 1 (best) to 31 (worst), default 4. For H.264 it is mapped onto the rate factor 16 + quality. */
  quality?: number;
}

declare const videoBrand: unique symbol;
declare const encoderBrand: unique symbol;
declare const cancelBrand: unique symbol;
/** An open video inside the addon. */
export type VideoHandle = { readonly [videoBrand]: true };
/** A file that is being encoded, inside the addon. */
export type EncoderHandle = { readonly [encoderBrand]: true };
/** A flag that stops the calls it was given to. */
export type CancelToken = { readonly [cancelBrand]: true };

/**
 * The decode addon (bindings/video). Promises are fulfilled by its own worker threads; they reject with a
 * {@link CodedError}. Typed arrays handed to a promise must not be transferred or resized until it settles.
 */
export interface VideoAddon {
  /** @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_FILE_IO, ERR_SYSTEM, ERR_VIDEO_FORMAT, _EMPTY, _LIMIT, _TIMEOUT, ERR_ABORTED */
  openVideo(source: VideoSource, options?: VideoOptions, cancel?: CancelToken): Promise<VideoHandle>;
  videoInfo(video: VideoHandle): VideoInfo;
  /**
   * Writes the frames `indices` as RGB bytes [n, height, width, 3] to `out`. Calls on one video run one by one, in their
   * order. With `deadlineMs` a call must be done so long after it was made, the wait for its turn included; without it, it may
   * take what `openVideo` was given once it is its turn.
   * @returns the number of the frame in each place: that of `indices`, another one where `onError` is `nearest` and it
   * took the place of a damaged one, or -1 where it is `skip` and nothing was written
   */
  readFrames(
    video: VideoHandle,
    indices: Int32Array,
    out: Uint8Array,
    deadlineMs?: number,
    cancel?: CancelToken,
  ): Promise<Int32Array>;
  /**
   * Executes a plan on a video. A Float32Array receives [crops * T, 3, S, S], normalised; a Uint8Array
   * [crops * T, S, S, 3], as before normalisation. Writing starts at element `elementOffset`; crop-major order.
   * @returns the number of the frame in each of the T places, as `readFrames` does
   */
  runPlan(
    video: VideoHandle,
    plan: VideoPlan,
    out: Float32Array | Uint8Array,
    elementOffset?: number,
    deadlineMs?: number,
    cancel?: CancelToken,
  ): Promise<Int32Array>;
  /** Executes a plan on RGB frames [n, height, width, 3] in memory; its `frames` number them. */
  runPlanOnFrames(
    frames: Uint8Array,
    width: number,
    height: number,
    plan: VideoPlan,
    out: Float32Array | Uint8Array,
    elementOffset?: number,
  ): Promise<void>;
  /**
   * Frames, ascending, that the decoder rejected or had to make up on its way to others, so far. Pictures behind one, up to
   * the next key frame, may show traces of it.
   */
  videoDamage(video: VideoHandle): Int32Array;
  /** Releases the video now; calls under way are stopped. Closing twice is allowed. */
  closeVideo(video: VideoHandle): void;
  /** Writes RGB frames [n, height, width, 3] as an MP4 file, which appears complete or not at all. */
  encodeVideo(
    path: string,
    options: EncodeOptions,
    frames: Uint8Array,
    cancel?: CancelToken,
  ): Promise<EncodeResult>;
  /** The same in pieces. Each call is to be awaited before the next; after an error nothing is left of the file. */
  openEncoder(path: string, options: EncodeOptions): Promise<EncoderHandle>;
  /** Appends RGB frames [n, height, width, 3], n >= 1. */
  writeFrames(encoder: EncoderHandle, frames: Uint8Array, cancel?: CancelToken): Promise<void>;
  /** Completes the file and closes it. @throws ERR_ARGUMENT without frames, ERR_FILE_WRITE, ERR_VIDEO_ENCODE */
  finishEncoder(encoder: EncoderHandle): Promise<EncodeResult>;
  /** Stops a call under way and removes what is written, unless the file is finished. Closing twice is allowed. */
  closeEncoder(encoder: EncoderHandle): void;
  createCancelToken(): CancelToken;
  cancel(token: CancelToken): void;
  /**
   * Number of worker threads (default: the number of cores), and whether they leave the cores to whoever else wants them
   * (on Linux; default false). Takes effect for work that has not begun.
   */
  setWorkerCount(count: number, background?: boolean): void;
  /** Decoders are those of the process: opened, taken over from a video before, and waiting for the next one. */
  counters(): {
    openVideos: number;
    queued: number;
    running: number;
    workers: number;
    decodersOpened: number;
    decodersReused: number;
    decodersIdle: number;
  };
}

/** What the binary exports beside {@link VideoAddon}. */
interface VideoBinary extends VideoAddon {
  setErrorClass(errorClass: typeof CodedError): void;
}

/** Where the build leaves the decode addon. */
export function videoAddonFile(): string {
  return join(packageRoot(), 'bindings/video/build/Release/video.node');
}

let loaded: VideoAddon | undefined;

/**
 * The decode addon, loaded at the first call: the file that the environment variable `VIDEO_ADDON_PATH` names, or else
 * the local build, or else that of the package with prebuilt addons.
 *
 * @throws ERR_NATIVE_LOAD, which lists every candidate and why it failed
 */
export function videoAddon(): VideoAddon {
  if (!loaded) {
    const binary = loadAddon<VideoBinary>('decode', 'VIDEO_ADDON_PATH', [
      videoAddonFile,
      () => prebuiltAddon('video.node'),
    ]);
    binary.setErrorClass(CodedError);
    binary.setWorkerCount(usableCores());
    loaded = binary;
  }
  return loaded;
}
