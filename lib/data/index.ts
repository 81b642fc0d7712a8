export type { FrameJitter, VideoInfo, VideoOptions, VideoPlan, VideoSource } from '../native/video';
export { Batch, type SampleFailure } from './batch';
export { type FrameBatch, FrameLoader, type FrameLoaderOptions, type FrameShuffle } from './frame_loader';
export { readLabels } from './labels';
export { type LoaderOptions, VideoLoader } from './loader';
export { drawMix, type Mix, type MixOptions, mixFrames, mixTargets, smoothTargets } from './mixup';
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
export type { MixRandom, Random } from './random';
export type { OnError } from './sample_loader';
export { sampleTestClips, sampleTestFrames, sampleTrainFrames } from './sampler';
export { openStore, type VideoStore } from './sources';
export type { Specification } from './synthetic/classes';
export { type SyntheticDataset, type SyntheticOptions, writeSyntheticDataset } from './synthetic/write';
export type { Box } from './transforms/geometry';
export { type ListOptions, type Source, VideoDataset, VideoSample } from './video_dataset';
export { type DamageReport, type ReadOptions, type VideoInput, VideoReader } from './video_reader';
