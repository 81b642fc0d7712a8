export { AdamW, type AdamWOptions, type OptimizerGroup, type ParameterGroupOptions } from './adamw';
export { clipGradNorm } from './clip_grad';
export { LossScaler, type LossScalerOptions } from './loss_scale';
export { CosineSchedule, type CosineScheduleOptions } from './schedule';
