import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Batch } from '../../lib/data/batch';
import type { ProcessGroup } from '../../lib/distributed/process_group';
import { evaluateViews } from '../../lib/engine/context';
import type { Findings } from '../../lib/engine/evaluate';
import type { EngineEvent } from '../../lib/engine/events';
import { datasetOf } from '../../lib/engine/setup';
import { createTask, type Task } from '../../lib/models';
import { native } from '../../lib/native/load';
import { tensor } from '../../lib/tensor/tensor';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
let task: Task;

beforeAll(async () => {
  tiny = await makeTinyRun(1, 3);
  task = await createTask(tiny.config(), tiny.names);
});
afterAll(() => {
  task.dispose();
  tiny.remove();
});

async function evaluateWith(
  opts: string[],
  views = { clips: 1, crops: 1 },
  signal?: AbortSignal,
  group: ProcessGroup | null = null,
) {
  const config = tiny.config(opts);
  const events: EngineEvent[] = [];
  const validation = await datasetOf(config, 'VAL_FILE');
  const emit = (event: EngineEvent) => events.push(event);
  const context = { config, task, validation, checkpoint: null, emit, signal, group };
  return { evaluation: await evaluateViews(context, views, 0), events };
}

test('every video is judged once, whatever the batch size, with the same numbers', async () => {
  const { evaluation: pairs } = await evaluateWith([]);
  expect(pairs.predictions.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect(pairs.predictions.map(({ label }) => label)).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2]);
  // 9 = 2 * 4 + 1: the reference would drop the last video.
  for (const size of ['1', '4', '9']) {
    const { evaluation, events } = await evaluateWith(['TEST.BATCH_SIZE', size]);
    expect(events.filter(({ kind }) => kind === 'test')).toHaveLength(Math.ceil(9 / Number(size)));
    for (const [i, prediction] of evaluation.predictions.entries()) {
      expect(prediction.predicted).toBe(pairs.predictions[i]!.predicted);
      expect(prediction.probability).toBeCloseTo(pairs.predictions[i]!.probability, 5);
    }
  }
});

test('accuracies are those of the ranks, and a rank counts the better classes', async () => {
  const { evaluation, events } = await evaluateWith([]);
  const hits = evaluation.predictions.filter(({ label, predicted }) => label === predicted).length;
  expect(evaluation.top1).toBeCloseTo((100 * hits) / 9, 12);
  expect(evaluation.top5).toBe(100); // three classes: each is among the best three
  for (const { rank, label, predicted, probability, labelProbability } of evaluation.predictions) {
    expect(rank === 0).toBe(label === predicted);
    expect(labelProbability).toBeLessThanOrEqual(probability);
    expect(probability).toBeGreaterThanOrEqual(1 / 3);
  }
  const last = events.filter((event) => event.kind === 'test').at(-1);
  expect(last).toMatchObject({ step: 4, steps: 5, top1: evaluation.top1 });
});

/** Runs `body` with another scale of the logits, as its logarithm. */
async function withScale(value: number, body: () => Promise<void>): Promise<void> {
  const [, scale] = [...task.model.namedParameters()].find(([name]) => name === 'logit_scale')!;
  const [sound, other] = [await scale.item(), value].map((x) => tensor(new Float32Array([x]), []));
  scale.assign(other!);
  await body().finally(() => scale.assign(sound!));
  sound!.dispose();
  other!.dispose();
}

test('of equal scores the lower class comes first; probabilities are means over the views', async () => {
  await withScale(-1000, async () => {
    const { evaluation } = await evaluateWith([], { clips: 2, crops: 3 });
    for (const { label, predicted, rank, probability, labelProbability } of evaluation.predictions) {
      expect([predicted, rank]).toEqual([0, label]);
      for (const mean of [probability, labelProbability]) expect(mean).toBeCloseTo(1 / 3, 6);
    }
  });
});

test('PRINT_FREQ says which steps are logged; each lets go of its batch', async () => {
  const release = jest.spyOn(Batch.prototype, 'release');
  const { events } = await evaluateWith(['PRINT_FREQ', '2']);
  expect(release).toHaveBeenCalledTimes(5);
  release.mockRestore();
  const logged = events.flatMap((event) => (event.kind === 'test' ? [event.logged] : []));
  expect(logged).toEqual([true, false, true, false, true]);
});

test('several views are averaged: three equal crops change nothing', async () => {
  // Square videos of the input's size: left, right and middle crop are the whole picture, out of the same short side.
  const { evaluation: three } = await evaluateWith([], { clips: 2, crops: 3 });
  const { evaluation: middle } = await evaluateWith([], { clips: 2, crops: 3 });
  expect(three).toEqual(middle);
  const sums = three.predictions.map(({ probability }) => probability);
  for (const value of sums) expect(value).toBeLessThanOrEqual(1);
});

test('a video that cannot be read is named and counted, the others are judged', async () => {
  writeFileSync(join(tiny.root, 'videos', 'broken.mp4'), 'no video');
  const list = join(tiny.root, 'broken.txt');
  writeFileSync(list, `${tiny.names[0]} 0.mp4 0\nbroken.mp4 1\n${tiny.names[2]} 0.mp4 2\n`);
  const { evaluation, events } = await evaluateWith(['DATA.VAL_FILE', list, 'DATA.ON_ERROR', 'skip']);
  expect(evaluation.predictions.map(({ index }) => index)).toEqual([0, 2]);
  expect(evaluation.failures).toMatchObject([{ index: 1, code: 'ERR_VIDEO_FORMAT' }]);
  expect(evaluation.failures[0]!.where).toMatch(/broken\.txt:2$/);
  expect(events.filter(({ kind }) => kind === 'failure')).toHaveLength(1);
  await expect(evaluateWith(['DATA.VAL_FILE', list])).rejects.toMatchObject({ code: 'ERR_VIDEO_FORMAT' });
  writeFileSync(list, 'broken.mp4 1\n');
  await expect(evaluateWith(['DATA.VAL_FILE', list, 'DATA.ON_ERROR', 'skip'])).rejects.toMatchObject({
    code: 'ERR_BAD_VIDEOS',
  });
});

test('it stops at an abort, refuses scores that are no numbers, and leaves no memory behind', async () => {
  await evaluateWith([]);
  const before = native().memory('cpu').liveTensors;
  await evaluateWith([], { clips: 2, crops: 1 });
  await expect(evaluateWith([], undefined, AbortSignal.abort())).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  await withScale(Number.NaN, () =>
    expect(evaluateWith([])).rejects.toMatchObject({ code: 'ERR_NOT_FINITE' }),
  );
  expect(native().memory('cpu').liveTensors).toBe(before);
});

test('in a job all have the findings of all, and an abort of one ends the evaluation of all', async () => {
  const told: (Findings | null)[] = [];
  const jobWith = (others: (own: Findings | null) => Findings | null) => {
    const exchange = async (own: Findings | null) => {
      told.push(own);
      return [others(own), own];
    };
    return { rank: 1, worldSize: 2, exchange } as unknown as ProcessGroup;
  };
  const { evaluation } = await evaluateWith(
    [],
    undefined,
    undefined,
    jobWith((own) => ({
      ...own!,
      predictions: own!.predictions.map((one) => ({ ...one, index: one.index - 1 })),
    })),
  );
  expect(told[0]!.predictions.map(({ index }) => index)).toEqual([1, 3, 5, 7]);
  expect(evaluation.predictions.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);

  const aborted = expect.objectContaining({ code: 'ERR_ABORTED' });
  await expect(
    evaluateWith(
      [],
      undefined,
      undefined,
      jobWith(() => null),
    ),
  ).rejects.toEqual(aborted);
  const own = evaluateWith(
    [],
    undefined,
    AbortSignal.abort(),
    jobWith(() => told[0]!),
  );
  await expect(own).rejects.toEqual(aborted);
  expect(told.at(-1)).toBeNull(); // the others are not left waiting
});
