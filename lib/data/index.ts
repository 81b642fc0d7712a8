export type {
  EncodeOptions,
  EncodeResult,
  FrameJitter,
  VideoInfo,
  VideoOptions,
  VideoPlan,
  VideoSource,
} from '../native/video';
export { Batch, type SampleFailure } from './batch';
export { type FrameBatch, FrameLoader, type FrameLoaderOptions, type FrameShuffle } from './frame_loader';
export { readLabels } from './labels';
export { formatList, type ListEntry, readList } from './list_file';
export { type LoaderOptions, VideoLoader } from './loader';
export { drawMix, type Mix, type MixOptions, mixFrames, mixTargets, smoothTargets } from './mixup';
export { type Packed, type PackOptions, packDataset } from './pack';
export {
  type PlanInfo,
  type Planner,
  type SamplePlan,
  type TestPlanOptions,
  type TrainPlanOptions,
  testPlan,
  testPlanner,
  trainPlan,
  trainPlanner,
} from './plan';
export { fewShot } from './prepare/few_shot';
export { type DatasetName, type PrepareOptions, prepareDataset } from './prepare/prepare';
export type { ListSummary } from './prepare/prepared';
export type { MixRandom, Random } from './random';
export type { OnError } from './sample_loader';
export { sampleTestClips, sampleTestFrames, sampleTrainFrames } from './sampler';
export {
  type CacheFailure,
  type CacheOptions,
  type CacheResult,
  type CacheSettings,
  cacheDataset,
} from './short_gop_cache';
export { type ListingOptions, openStore, type VideoStore } from './sources';
export type { Specification } from './synthetic/classes';
export { type SyntheticDataset, type SyntheticOptions, writeSyntheticDataset } from './synthetic/write';
export type { Box } from './transforms/geometry';
export {
  type BadVideo,
  forgetProgress,
  type VerifyOptions,
  type VerifyReport,
  verifyDataset,
} from './verify';
export { type ListOptions, type Source, VideoDataset, VideoSample } from './video_dataset';
export {
  type BatchOptions,
  type DamageReport,
  type ReadOptions,
  type VideoInput,
  VideoReader,
} from './video_reader';
export { VideoWriter } from './video_writer';
