import { loadConfig } from '../../lib/config/load';
import { VideoDataset, VideoSample } from '../../lib/data/video_dataset';
import type { ViewEvaluation } from '../../lib/engine/context';
import { maxMistakes, resultsOf } from '../../lib/engine/results';

const names = ['zero', 'one', 'two', 'none'];
const store = { locate: (name: string) => ({ path: name }), describe: (name: string) => name };
const config = loadConfig({ opts: ['DATA.VAL_FILE', 'val.txt', 'TEST.REFERENCE_SAMPLING', 'True'] });

/** An evaluation of videos given as [label, predicted, probability]. */
function evaluationOf(answers: [number, number, number][]): [VideoDataset, ViewEvaluation] {
  const dataset = new VideoDataset(
    answers.map(([label], i) => new VideoSample(`${i}.mp4`, [label], `val.txt:${i + 1}`, store)),
  );
  const predictions = answers.map(([label, predicted, probability], index) => ({
    ...{ index, label, predicted, probability, labelProbability: label === predicted ? probability : 0.1 },
    rank: label === predicted ? 0 : 2,
  }));
  const failure = {
    epoch: 0,
    index: 9,
    path: 'x.mp4',
    where: 'val.txt:10',
    code: 'ERR_VIDEO_FORMAT',
    reason: 'text',
  };
  const views = { clips: 4, crops: 3 };
  const damage = { ...failure, index: 0, path: '0.mp4', where: 'val.txt:1', code: 'VIDEO_DAMAGED' };
  const bad = { failures: [failure], damaged: [damage] };
  return [dataset, { top1: 60, top5: 100, predictions, ...bad, views, seed: 5 }];
}

test('per-class accuracy, confusion, mistakes by confidence, and the protocol', () => {
  const [dataset, evaluation] = evaluationOf([
    [0, 0, 0.9],
    [0, 2, 0.5],
    [1, 1, 0.4],
    [2, 0, 0.8],
    [2, 2, 0.7],
    [0, 2, 0.6],
  ]);
  const results = resultsOf(config, dataset, names, evaluation, 'best.pth');
  expect(results.classes.map(({ videos, correct, accuracy }) => [videos, correct, accuracy])).toEqual([
    [3, 1, 100 / 3],
    [1, 1, 100],
    [2, 1, 50],
    [0, 0, null],
  ]);
  expect(results.meanClassAccuracy).toBeCloseTo((100 / 3 + 100 + 50) / 3, 12);
  expect(results.confusion).toEqual([
    [0, 0, 1],
    [0, 2, 2],
    [1, 1, 1],
    [2, 0, 1],
    [2, 2, 1],
  ]);
  expect(results.mistakes.map(({ video, label, predicted }) => [video, label, predicted])).toEqual([
    ['3.mp4', 'two', 'zero'],
    ['5.mp4', 'zero', 'two'],
    ['1.mp4', 'zero', 'two'],
  ]);
  expect(results.mistakes[0]).toMatchObject({
    where: 'val.txt:4',
    probability: 0.8,
    labelProbability: 0.1,
    rank: 2,
  });
  expect(results.protocol).toEqual({
    ...{
      list: 'val.txt',
      root: '',
      labels: 'labels/kinetics_400_labels.csv',
      checkpoint: 'best.pth',
      arch: 'ViT-B/32',
    },
    ...{ frames: 8, inputSize: 224, clips: 4, crops: 3, sampling: 'random', frameOrder: 'forward', seed: 5 },
    ...{ onError: 'fail', videos: 6, damaged: 1, failed: 1 },
  });
  expect(results).toMatchObject({
    dataset: 'kinetics400',
    top1: 60,
    top5: 100,
    failures: [{ path: 'x.mp4' }],
  });
  const samplingOf = (clips: number) => {
    const tested = { ...evaluation, views: { clips, crops: 3 } };
    return resultsOf(config, dataset, names, tested, null).protocol.sampling;
  };
  expect([1, 2].map(samplingOf)).toEqual(['even', 'random']); // one clip is not drawn
});

test('the list of mistakes ends somewhere', () => {
  const [dataset, evaluation] = evaluationOf(Array.from({ length: 150 }, (_, i) => [0, 1, i / 150]));
  const { mistakes } = resultsOf(config, dataset, names, evaluation, null);
  expect(mistakes).toHaveLength(maxMistakes);
  expect(mistakes[0]!.video).toBe('149.mp4');
});
