/**
 * X-CLIP video recognition for Node, and the deep-learning library under it.
 *
 * - {@link XCLIP}: load a model, classify videos, embed videos and texts.
 * - {@link run}: train and test as a configuration says.
 * - tensors, operations, `nn`, `optim`: the library, usable on its own.
 * - {@link VideoReader}: exact frames of a video.
 *
 * @module
 */
export { CodedError, type ErrorCode, hasCode } from './base/error';
export { Philox, streamOf } from './base/philox';
export * as config from './config';
export * as data from './data';
export { VideoReader } from './data';
export * as distributed from './distributed';
export * as engine from './engine';
export { run } from './engine';
export * as io from './io';
export * from './models';
export {
  type Device,
  defaultDevice,
  emptyCache,
  type Float32MatmulPrecision,
  float32MatmulPrecision,
  memory,
  type OpTime,
  resetPeakMemory,
  resolveDevice,
  setDefaultDevice,
  setFloat32MatmulPrecision,
  setProfiling,
  setThreads,
  synchronize,
  takeProfile,
} from './native/device';
export type { DeviceType, DType, MemoryStats } from './native/load';
export * as nn from './nn';
export * from './ops';
export * as optim from './optim';
export { backward, checkpoint, enableGrad, isRecording, noGrad } from './tensor/autograd';
export { captureGraph, type Graph } from './tensor/graph';
export { type Disposable, keep, scope } from './tensor/scope';
export {
  type NestedNumbers,
  Tensor,
  type TensorData,
  type TensorOptions,
  tensor,
} from './tensor/tensor';
