import type { Config } from '../config/schema';
import type { VideoDataset } from '../data/video_dataset';
import type { ProcessGroup } from '../distributed/process_group';
import type { Checkpoint } from '../io';
import type { Task } from '../models';
import { type Device, resolveDevice } from '../tensor/tensor';
import { type Evaluation, evaluate } from './evaluate';
import type { Listener, TestEnd } from './events';
import { testLoader } from './setup';

/** What a run works with, once everything is checked and made. */
export interface RunContext {
  config: Config;
  task: Task;
  validation: VideoDataset;
  /** The checkpoint to continue from or to test, open; null to start anew. */
  checkpoint: Checkpoint | null;
  emit: Listener;
  signal: AbortSignal | undefined;
  /** The processes that share the work; null when this one works alone. */
  group: ProcessGroup | null;
}

/** Ways to look at a video in a test: `clips` sets of frames times `crops` squares. */
export interface Views {
  clips: number;
  crops: number;
}

/** An evaluation, and how it looked at the videos. */
export interface ViewEvaluation extends Evaluation {
  views: Views;
  /** What the clips are drawn with, where they are drawn. */
  seed: number;
}

/** Evaluates the validation videos in `clips` x `crops` views. */
export async function evaluateViews(
  { config, task, validation, emit, signal, group }: RunContext,
  views: Views,
  seed: number,
): Promise<ViewEvaluation> {
  emit({ kind: 'message', text: `${views.clips * views.crops} views inference` });
  const evaluation = await evaluate({
    task,
    loader: testLoader(config, validation, views, seed, signal, group),
    group,
    device: resolveDevice(config.MODEL.DEVICE as Device),
    printFrequency: config.PRINT_FREQ,
    emit,
  });
  return { ...evaluation, views, seed };
}

/** The record of a finished evaluation. */
export function accuracyEvent(
  { top1, top5, predictions, failures }: Evaluation,
  views: Views,
  epoch: number | null,
  best: number | null,
): TestEnd {
  const counts = { videos: predictions.length, failed: failures.length };
  return { kind: 'accuracy', epoch, ...views, top1, top5, ...counts, best };
}
