import type { WarningCode } from '../base/warning';
import { failureText, type SampleFailure } from '../data/batch';
import { formatDuration } from './meters';

/** How far the first listing of an archive of videos has come. */
export interface ArchiveListing {
  kind: 'listing';
  archive: string;
  /** Bytes gone through, from 0, and of the archive. */
  done: number;
  total: number;
}

/** One micro-batch of training. */
export interface TrainStep {
  kind: 'train';
  epoch: number;
  epochs: number;
  /** Micro-batch within the epoch, from 0, and how many there are. */
  step: number;
  steps: number;
  /** Loss divided by the number of accumulated micro-batches, and its average over the epoch. */
  loss: number;
  averageLoss: number;
  /** Learning rate of the first parameter group after this step. */
  lr: number;
  /** Seconds of this step, and their average over the epoch. */
  seconds: number;
  averageSeconds: number;
  /** Part of the epoch's time so far that was spent waiting for data, 0..1. */
  dataShare: number;
  /** Seconds to the end of the epoch at the average pace. */
  eta: number;
  /** Most device memory that tensors took so far, in bytes. */
  memory: number;
  /** True for the steps that PRINT_FREQ selects. */
  logged: boolean;
}

/** One batch of an evaluation. */
export interface TestStep {
  kind: 'test';
  step: number;
  steps: number;
  /** Top-1 accuracy so far, in percent. */
  top1: number;
  logged: boolean;
}

/** A finished evaluation. */
export interface TestEnd {
  kind: 'accuracy';
  /** The epoch that it follows; null in the test after training, and when a checkpoint is tested. */
  epoch: number | null;
  clips: number;
  crops: number;
  /** In percent. */
  top1: number;
  top5: number;
  /** Videos evaluated, and videos that could not be read. */
  videos: number;
  failed: number;
  /** The best top-1 after an epoch so far; null where `epoch` is. */
  best: number | null;
}

/** A finished epoch of training. */
export interface EpochEnd {
  kind: 'epoch';
  epoch: number;
  seconds: number;
  loss: number;
  /** Samples of the epoch that could not be loaded, and those from videos with damaged frames. */
  failed: number;
  damaged: number;
}

/** A checkpoint that was written. */
export interface CheckpointSaved {
  kind: 'checkpoint';
  path: string;
  epoch: number;
  /** Micro-batches of `epoch` that it includes; null for the whole epoch. */
  batch: number | null;
}

/** A video that could not be loaded. */
export interface FailedSample extends SampleFailure {
  kind: 'failure';
}

/** A video that was loaded, but may show traces of damaged frames. */
export interface DamagedSample extends SampleFailure {
  kind: 'damage';
}

/** Something to tell the user. */
export interface Message {
  kind: 'message';
  text: string;
  warning?: boolean;
  /** Stable, of a warning that has one. */
  code?: WarningCode;
}

/** What the engine reports while it works. It never prints: whoever runs it listens. */
export type EngineEvent =
  | ArchiveListing
  | TrainStep
  | TestStep
  | TestEnd
  | EpochEnd
  | CheckpointSaved
  | FailedSample
  | DamagedSample
  | Message;

export type Listener = (event: EngineEvent) => void;

/** The lines that the log shows for an event, in the format of the reference; none for unlogged steps. */
export function logLines(event: EngineEvent): string[] {
  switch (event.kind) {
    case 'listing':
      return listingLines(event);
    case 'train':
      return event.logged ? [trainLine(event)] : [];
    case 'test':
      return event.logged ? [`Test: [${event.step}/${event.steps}]\tAcc@1: ${event.top1.toFixed(3)}\t`] : [];
    case 'accuracy':
      return accuracyLines(event);
    case 'epoch':
      return epochLines(event);
    case 'checkpoint':
      return [`${event.path} saved !!!`];
    case 'failure':
    case 'damage':
      return [`warning ${event.code}: ${failureText(event)}`];
    case 'message':
      return [event.warning ? `warning${event.code ? ` ${event.code}` : ''}: ${event.text}` : event.text];
  }
}

/** One for an archive that takes its time; shards are many and small. */
function listingLines({ archive, done, total }: ArchiveListing): string[] {
  const isLong = done === 0 && total >= 1e10;
  return isLong ? [`listing the ${(total / 1e9).toFixed(0)} GB of ${archive}, once`] : [];
}

function trainLine(event: TrainStep): string {
  const pair = (value: number, average: number) => `${value.toFixed(4)} (${average.toFixed(4)})`;
  return [
    `Train: [${event.epoch}/${event.epochs}][${event.step}/${event.steps}]`,
    `eta ${formatDuration(event.eta)} lr ${event.lr.toFixed(9)}`,
    `time ${pair(event.seconds, event.averageSeconds)}`,
    `tot_loss ${pair(event.loss, event.averageLoss)}`,
    `mem ${(event.memory / 2 ** 20).toFixed(0)}MB`,
    `data ${(100 * event.dataShare).toFixed(1)}%`,
  ].join('\t');
}

function epochLines({ epoch, seconds, failed, damaged }: EpochEnd): string[] {
  const lines = [`EPOCH ${epoch} training takes ${formatDuration(seconds)}`];
  if (failed + damaged === 0) return lines;
  return [
    ...lines,
    `EPOCH ${epoch} samples that could not be loaded: ${failed}, with damaged frames: ${damaged}`,
  ];
}

function accuracyLines({ top1, top5, videos, failed, best }: TestEnd): string[] {
  const lines = [
    ` * Acc@1 ${top1.toFixed(3)} Acc@5 ${top5.toFixed(3)}`,
    `Accuracy of the network on the ${videos} test videos: ${top1.toFixed(1)}%`,
  ];
  if (failed > 0) lines.push(`warning: ${failed} more test videos could not be read and are not counted`);
  if (best !== null) lines.push(`Max accuracy: ${best.toFixed(2)}%`);
  return lines;
}
