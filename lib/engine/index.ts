export type { ViewEvaluation, Views } from './context';
export { type EvaluateOptions, type Evaluation, evaluate, type Findings, type Prediction } from './evaluate';
export {
  type ArchiveListing,
  type CheckpointSaved,
  type DamagedSample,
  type EngineEvent,
  type EpochEnd,
  type FailedSample,
  type Listener,
  logLines,
  type Message,
  type TestEnd,
  type TestStep,
  type TrainStep,
} from './events';
export { type MeasuredCosts, type MeasureOptions, measure, type StepCost } from './measure';
export { type ReportData, readMetrics, writeReport } from './report';
export type { ClassResult, Mistake, Protocol, Results } from './results';
export { type RunOptions, type RunResult, run } from './run';
