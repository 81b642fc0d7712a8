/**
 * Exact video decoding on its own: the entry `xclip-native/video` loads the decode addon alone, not the deep-learning
 * library.
 *
 * - {@link VideoReader}: frames of one video by number or time, in any order.
 * - {@link VideoLoader}: batches of frames out of many videos.
 * - {@link VideoWriter}: frames to a file, a few at a time.
 *
 * @module
 */
export { CodedError, type ErrorCode, hasCode } from './base/error';
export {
  type FrameBatch,
  FrameLoader as VideoLoader,
  type FrameLoaderOptions as VideoLoaderOptions,
  type FrameShuffle,
} from './data/frame_loader';
export {
  type BatchOptions,
  type DamageReport,
  type ReadOptions,
  type VideoInput,
  VideoReader,
} from './data/video_reader';
export { VideoWriter } from './data/video_writer';
export type {
  EncodeOptions,
  EncodeResult,
  FrameJitter,
  VideoInfo,
  VideoOptions,
  VideoPlan,
  VideoSource,
} from './native/video';
