import { join } from 'node:path';
import type { Config } from '../config/schema';
import type { SampleFailure } from '../data/batch';
import type { VideoDataset } from '../data/video_dataset';
import { writeText } from '../io/text_file';
import type { ViewEvaluation } from './context';
import type { Prediction } from './evaluate';

/** The file with the results in the output folder. */
export const RESULTS_FILE = 'results.json';

/** How an evaluation was made: all that its numbers depend on, beside weights and videos. */
export interface Protocol {
  list: string;
  root: string;
  labels: string;
  /** Weights tested; null for those that a training ended with. */
  checkpoint: string | null;
  arch: string;
  /** Frames per clip, and side of the square input in pixels. */
  frames: number;
  inputSize: number;
  /** Views per video: clips x crops. */
  clips: number;
  crops: number;
  /** How several clips are placed: evenly, or drawn with `seed` as the reference does. */
  sampling: 'even' | 'random';
  frameOrder: string;
  seed: number;
  /** What happened to videos that cannot be read. */
  onError: string;
  /** Videos judged, of these the ones with damaged frames, and videos that could not be read. */
  videos: number;
  damaged: number;
  failed: number;
}

/** One class of a test. */
export interface ClassResult {
  id: number;
  name: string;
  videos: number;
  correct: number;
  /** In percent; null when there is no video of the class. */
  accuracy: number | null;
}

/** A wrong answer. */
export interface Mistake {
  video: string;
  where: string;
  label: string;
  predicted: string;
  /** Of the answer, and of the right class. */
  probability: number;
  labelProbability: number;
  /** Number of classes before the right one. */
  rank: number;
}

/** The contents of results.json. */
export interface Results {
  dataset: string;
  protocol: Protocol;
  /** In percent; top5 is top-min(5, K). */
  top1: number;
  top5: number;
  /** Mean of the accuracies of all classes that have videos, in percent. */
  meanClassAccuracy: number;
  classes: ClassResult[];
  /** Cells of the confusion matrix that are not 0: [label, predicted, videos], ascending. */
  confusion: [number, number, number][];
  /** The most confident ones first, at most 100. */
  mistakes: Mistake[];
  failures: SampleFailure[];
  damaged: SampleFailure[];
}

/** Wrong answers that are listed. */
export const maxMistakes = 100;

/** What an evaluation came to, with the protocol it followed. @param checkpoint the weights tested, or null */
export function resultsOf(
  config: Config,
  dataset: VideoDataset,
  classNames: readonly string[],
  evaluation: ViewEvaluation,
  checkpoint: string | null,
): Results {
  const { predictions, failures, damaged, top1, top5 } = evaluation;
  const classes = classResults(predictions, classNames);
  const accuracies = classes.flatMap(({ accuracy }) => accuracy ?? []);
  const mistakes = predictions
    .filter(({ rank }) => rank > 0)
    .sort((a, b) => b.probability - a.probability)
    .slice(0, maxMistakes)
    .map(({ index, label, predicted, probability, labelProbability, rank }): Mistake => {
      const { name, where } = dataset.at(index);
      const names = { label: classNames[label]!, predicted: classNames[predicted]! };
      return { video: name, where, ...names, probability, labelProbability, rank };
    });
  return {
    dataset: config.DATA.DATASET,
    protocol: protocolOf(config, evaluation, checkpoint),
    top1,
    top5,
    meanClassAccuracy: accuracies.reduce((sum, value) => sum + value, 0) / accuracies.length,
    classes,
    confusion: confusionOf(predictions),
    mistakes,
    failures,
    damaged,
  };
}

/** The accuracy of each class. */
export function classResults(
  predictions: readonly Prediction[],
  classNames: readonly string[],
): ClassResult[] {
  const counts = classNames.map(() => ({ videos: 0, correct: 0 }));
  for (const { label, rank } of predictions) {
    counts[label]!.videos++;
    if (rank === 0) counts[label]!.correct++;
  }
  return classNames.map((name, id): ClassResult => {
    const { videos, correct } = counts[id]!;
    return { id, name, videos, correct, accuracy: videos > 0 ? (100 * correct) / videos : null };
  });
}

/** Writes {@link RESULTS_FILE}. @throws ERR_FILE_WRITE */
export function writeResults(folder: string, results: Results): Promise<void> {
  return writeText(join(folder, RESULTS_FILE), `${JSON.stringify(results, null, 1)}\n`);
}

function protocolOf(
  { DATA, MODEL, TEST }: Config,
  { views, seed, predictions, failures, damaged }: ViewEvaluation,
  checkpoint: string | null,
): Protocol {
  return {
    list: DATA.VAL_FILE,
    root: DATA.ROOT,
    labels: DATA.LABEL_LIST,
    checkpoint,
    arch: MODEL.ARCH,
    frames: DATA.NUM_FRAMES,
    inputSize: DATA.INPUT_SIZE,
    ...views,
    sampling: TEST.REFERENCE_SAMPLING && views.clips > 1 ? 'random' : 'even',
    frameOrder: TEST.FRAME_ORDER,
    seed,
    onError: DATA.ON_ERROR,
    videos: predictions.length,
    damaged: damaged.length,
    failed: failures.length,
  };
}

function confusionOf(predictions: ViewEvaluation['predictions']): [number, number, number][] {
  const cells = new Map<string, [number, number, number]>();
  for (const { label, predicted } of predictions) {
    const key = `${label} ${predicted}`;
    const cell = cells.get(key) ?? [label, predicted, 0];
    cell[2]++;
    cells.set(key, cell);
  }
  return [...cells.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}
