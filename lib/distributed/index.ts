export { averageGradients, GradientBuckets, shareParameters } from './data_parallel';
export { type JobEnvironment, jobFromEnvironment } from './environment';
export { type LaunchOptions, launch, type ProcessEnd } from './launch';
export { launcherSignal } from './launcher';
export { type JoinOptions, ProcessGroup } from './process_group';
