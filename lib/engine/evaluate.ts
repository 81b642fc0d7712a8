import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError, hasCode } from '../base/error';
import type { Batch, SampleFailure } from '../data/batch';
import type { VideoLoader } from '../data/loader';
import type { ProcessGroup } from '../distributed/process_group';
import type { Task } from '../models/task';
import type { DeviceType } from '../native/load';
import { evaluation } from '../nn/module';
import { add } from '../ops/binary';
import { softmax } from '../ops/softmax';
import { noGrad } from '../tensor/autograd';
import { keep, scope } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';
import { reportBadSamples } from './bad_samples';
import type { Listener } from './events';

/** What a model said about one video. */
export interface Prediction {
  /** Index in the data set. */
  index: number;
  /** Of a video with several labels, the one with the highest score. */
  label: number;
  /** The class with the highest score. */
  predicted: number;
  /** Mean over the views of the probability of `predicted`, and of `label`. */
  probability: number;
  labelProbability: number;
  /** Number of classes before `label` in the ranking; 0 is a hit. Of equal scores the lower class comes first. */
  rank: number;
}

/** What became of the videos. */
export interface Findings {
  /** One for each video that could be read, in the order of the list. */
  predictions: Prediction[];
  failures: SampleFailure[];
  /** Videos among the predictions that may have shown traces of damaged frames. */
  damaged: SampleFailure[];
}

export interface Evaluation extends Findings {
  /** Share of the videos with rank 0, and with a rank below min(5, K), in percent. */
  top1: number;
  top5: number;
}

export interface EvaluateOptions {
  task: Task;
  /** Batches of [B, V, T, 3, S, S], every video once over all processes of the group. */
  loader: VideoLoader;
  /** The processes that share the videos (default: none but this one). All get the same evaluation. */
  group?: ProcessGroup | null;
  device: DeviceType;
  /** Steps between logged ones. */
  printFrequency: number;
  emit: Listener;
}

const keys: KnownOptions<EvaluateOptions> = {
  task: true,
  loader: true,
  group: true,
  device: true,
  printFrequency: true,
  emit: true,
};

/**
 * Classifies every video of the loader: softmax of the logits, summed over the V views, as the reference does. Nothing
 * is recorded for a gradient and nothing of the model changes.
 *
 * @throws ERR_ABORTED when the loader's signal fires (that of any process), ERR_NOT_FINITE when a score is no number, what
 *   the loader throws (when no video can be read that is ERR_BAD_VIDEOS), ERR_DISTRIBUTED
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  checkKnownOptions('evaluate', options, keys);
  const { task, group } = options;
  // Training, which may go on from here, needs the memory.
  const own = findings(options).finally(() => task.releaseRecordings());
  const { predictions, failures, damaged } = group ? await shared(own, group) : await own;
  if (predictions.length === 0) throw new CodedError('ERR_ARGUMENT', 'there are no videos to evaluate');
  const bound = Math.min(5, task.classNames.length);
  return {
    top1: percent(predictions.filter(({ rank }) => rank === 0).length, predictions.length),
    top5: percent(predictions.filter(({ rank }) => rank < bound).length, predictions.length),
    predictions,
    failures,
    damaged,
  };
}

/** The findings of all processes, in the order of the list. An abort of one is an abort of all. */
async function shared(own: Promise<Findings>, group: ProcessGroup): Promise<Findings> {
  const settled = await own.catch((error) => {
    if (hasCode(error, 'ERR_ABORTED')) return null;
    throw error;
  });
  const everyone = await group.exchange(settled);
  if (everyone.includes(null)) throw new CodedError('ERR_ABORTED', 'the evaluation was aborted');
  const inOrder = <T extends { index: number }>(pick: (part: Findings) => T[]) =>
    everyone.flatMap((part) => pick(part!)).sort((a, b) => a.index - b.index);
  return {
    predictions: inOrder(({ predictions }) => predictions),
    failures: inOrder(({ failures }) => failures),
    damaged: inOrder(({ damaged }) => damaged),
  };
}

/** Classifies the videos of the loader. */
async function findings(options: EvaluateOptions): Promise<Findings> {
  const { loader, printFrequency, emit } = options;
  const predictions: Prediction[] = [];
  const failures: SampleFailure[] = [];
  const damaged: SampleFailure[] = [];
  let hits = 0;
  for await (const batch of loader.epoch(0)) {
    reportBadSamples(batch, emit);
    failures.push(...batch.failed);
    damaged.push(...batch.damaged);
    for (const prediction of await classifyBatch(batch, options)) {
      predictions.push(prediction);
      if (prediction.rank === 0) hits++;
    }
    batch.release();
    emit({
      kind: 'test',
      step: batch.index,
      steps: loader.batchesPerEpoch,
      top1: percent(hits, predictions.length),
      logged: batch.index % printFrequency === 0,
    });
  }
  return { predictions, failures, damaged };
}

async function classifyBatch(batch: Batch, { task, device }: EvaluateOptions): Promise<Prediction[]> {
  const [count, views] = batch.shape as [number, number];
  if (count === 0) return [];
  const classes = task.classNames.length;
  let sum: Tensor | undefined;
  try {
    for (let view = 0; view < views; view++) {
      const total: Tensor = noGrad(() =>
        scope(() => {
          const scores = softmax(task.forward(batch.tensor(device, view), evaluation));
          return sum ? add(sum, scores) : scores;
        }),
      );
      sum?.dispose();
      sum = keep(total);
    }
    const scores = (await sum!.data()) as Float32Array;
    return batch.labelSets.map((labels, row) => {
      const own = scores.subarray(row * classes, (row + 1) * classes);
      const label = labels.reduce((best, other) => (own[other]! > own[best]! ? other : best));
      return judge(own, label, views, batch.indices[row]!);
    });
  } finally {
    sum?.dispose();
  }
}

/** @param scores [K], probabilities summed over the views */
function judge(scores: Float32Array, label: number, views: number, index: number): Prediction {
  const own = scores[label];
  if (own === undefined || !scores.every(Number.isFinite)) {
    throw new CodedError(
      'ERR_NOT_FINITE',
      `the scores of test video ${index} are not all numbers; are the weights sound?`,
    );
  }
  let rank = 0;
  let predicted = 0;
  scores.forEach((score, k) => {
    if (score > own || (score === own && k < label)) rank++;
    if (score > scores[predicted]!) predicted = k;
  });
  return {
    index,
    label,
    predicted,
    probability: scores[predicted]! / views,
    labelProbability: own / views,
    rank,
  };
}

function percent(part: number, whole: number): number {
  return whole === 0 ? 0 : (100 * part) / whole;
}
