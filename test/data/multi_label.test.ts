import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatList, parseLabels, readList } from '../../lib/data/list_file';
import { VideoLoader } from '../../lib/data/loader';
import { smoothTargets } from '../../lib/data/mixup';
import { VideoDataset } from '../../lib/data/video_dataset';
import { evaluateViews } from '../../lib/engine/context';
import { datasetOf, trainLoader, trainPlannerOf } from '../../lib/engine/setup';
import { createTask } from '../../lib/models';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun(1, 1);
});
afterAll(() => tiny.remove());

function put(name: string, text: string): string {
  const path = join(tiny.root, name);
  writeFileSync(path, text);
  return path;
}

const coded = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

test('lists with several labels, as text and JSON, and back', async () => {
  const text = 'a b.mp4 3,17\nc.mp4 2\n';
  const entries = await readList(put('several.txt', text));
  expect(entries.map(({ name, labels }) => [name, labels])).toEqual([
    ['a b.mp4', [3, 17]],
    ['c.mp4', [2]],
  ]);
  expect(formatList(entries)).toBe(text);
  const written = formatList(entries, 'x.json');
  expect((await readList(put('written.json', written))).map(({ name, labels }) => [name, labels])).toEqual([
    ['a b.mp4', [3, 17]],
    ['c.mp4', [2]],
  ]);
  const json = await readList(put('several.json', '[{"filename": "a b.mp4", "label": [3, 17]}]'));
  expect(json[0]).toMatchObject({ name: 'a b.mp4', labels: [3, 17] });
  for (const wrong of ['3,', ',3', '3,3', '3, 4', [], [1, -1], [0.5], null, undefined, 'x,1', [[1]]]) {
    expect(() => parseLabels(wrong, 'list:1')).toThrow(coded('ERR_LIST_FORMAT', /^list:1: expected a label/));
  }
  const open = VideoDataset.fromList(join(tiny.root, 'several.txt'), { root: tiny.root, numClasses: 17 });
  await expect(open).rejects.toEqual(coded('ERR_LABEL_RANGE', /several\.txt:1: label 17/));
});

test.each([' a.mp4', 'a.mp4 ', 'a\nb.mp4', '\ufeffa.mp4'])(
  'no line holds the name %j, JSON does',
  async (name) => {
    const entries = [{ name, labels: [1] }];
    expect(() => formatList(entries, 'x.txt')).toThrow(coded('ERR_LIST_FORMAT', /^x\.txt: no line can hold/));
    const [read] = await readList(put('odd.json', formatList(entries, 'odd.json')));
    expect(read).toMatchObject({ name, labels: [1] });
  },
);

test('several labels share the probability', () => {
  const targets = smoothTargets([[1], [0, 3]], 4, 0.2);
  expect([...targets].map((value) => Math.round(1e6 * value) / 1e6)).toEqual([
    0.05, 0.85, 0.05, 0.05, 0.45, 0.05, 0.05, 0.45,
  ]);
  expect([...smoothTargets([[1], [2]], 4, 0.1)]).toEqual([...smoothTargets(Int32Array.of(1, 2), 4, 0.1)]);
});

test('training gets soft targets for them, also without mixing; without the number of classes it is refused', async () => {
  const [one, two, three] = tiny.names.map((name) => `${name} 0.mp4`);
  const list = put('train_several.txt', `${one} 0,2\n${two} 1\n${three} 2\n`);
  const config = tiny.config(['DATA.TRAIN_FILE', list]);
  const dataset = await datasetOf(config, 'TRAIN_FILE');
  const options = {
    dataset,
    planner: trainPlannerOf(config),
    batchSize: 3,
    seed: 1,
    training: true,
    onError: 'fail',
  } as const;
  expect(() => new VideoLoader(options)).toThrow(coded('ERR_ARGUMENT', /several labels/));
  const loader = new VideoLoader({ ...options, multiLabel: { numClasses: 3, smoothing: 0 } });
  for await (const { indices, labels, labelSets, targets } of loader.epoch(0)) {
    for (const [row, index] of indices.entries()) {
      expect(labelSets[row]).toEqual([[0, 2], [1], [2]][index]);
      expect(labels[row]).toBe(labelSets[row]![0]);
      expect([...targets!.subarray(3 * row, 3 * row + 3)]).toEqual(
        [
          [0.5, 0, 0.5],
          [0, 1, 0],
          [0, 0, 1],
        ][index],
      );
    }
  }
});

test('they are smoothed as the configuration says, also without mixing', async () => {
  const list = put('smoothed.txt', tiny.names.map((name) => `${name} 0.mp4 0,2\n`).join(''));
  const config = tiny.config(['DATA.TRAIN_FILE', list, 'AUG.MIXUP', '0', 'AUG.LABEL_SMOOTH', '0.3']);
  const loader = trainLoader(config, await datasetOf(config, 'TRAIN_FILE'), 1);
  let rows = 0;
  for await (const { targets } of loader.epoch(0)) {
    rows += targets!.length / 3;
    for (const [i, target] of targets!.entries()) expect(target).toBeCloseTo(i % 3 === 1 ? 0.1 : 0.45, 6);
  }
  expect(rows).toBeGreaterThan(0);
});

test('in a test any of them is right', async () => {
  const names = tiny.names.map((name) => `${name} 1.mp4`);
  const every = put('every.txt', names.map((name) => `${name} 0,1,2\n`).join(''));
  const config = tiny.config(['DATA.VAL_FILE', every]);
  const task = await createTask(config, tiny.names);
  try {
    const context = { config, task, checkpoint: null, emit: () => {}, signal: undefined, group: null };
    const views = { clips: 1, crops: 1 };
    const all = await evaluateViews(
      { ...context, validation: await datasetOf(config, 'VAL_FILE') },
      views,
      0,
    );
    expect(all.top1).toBe(100);
    expect(all.predictions.every(({ label, predicted, rank }) => label === predicted && rank === 0)).toBe(
      true,
    );
    const said = all.predictions.map(({ predicted }) => predicted);
    // The two classes that the model did not say: the better of them counts, and it is a mistake of rank 1.
    const others = said.map((predicted) => [0, 1, 2].filter((id) => id !== predicted).join(','));
    put('every.txt', names.map((name, i) => `${name} ${others[i]}\n`).join(''));
    const wrong = await evaluateViews(
      { ...context, validation: await datasetOf(config, 'VAL_FILE') },
      views,
      0,
    );
    expect(wrong.top1).toBe(0);
    expect(wrong.predictions.map(({ rank }) => rank)).toEqual([1, 1, 1]);
  } finally {
    task.dispose();
  }
});
