import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VideoDataset } from '../../lib/data/video_dataset';
import type { Evaluation } from '../../lib/engine/evaluate';
import type { EngineEvent } from '../../lib/engine/events';
import { readMetrics, writeReport } from '../../lib/engine/report';
import { damageVideo, makeVideoFolder, type VideoFolder } from '../support/video_folder';

let folder: VideoFolder;
beforeAll(async () => {
  folder = await makeVideoFolder([
    ['good.mp4', 0],
    ['damaged.mp4', 1],
    ['<i>bad</i>.mp4', 1],
  ]);
  damageVideo(join(folder.videos, 'damaged.mp4'));
});
afterAll(() => folder.remove());

test('names cannot leave their places, and a video whose frames cannot be shown does not end the report', async () => {
  const dataset = await VideoDataset.fromList(folder.list, { root: folder.videos });
  const answer = { probability: 0.6, labelProbability: 0.2 };
  const bad = { epoch: 0, index: 2, path: '<i>bad</i>.mp4', where: 'list.txt:3', code: 'ERR_VIDEO_FORMAT' };
  const evaluation: Evaluation = {
    top1: 50,
    top5: 100,
    predictions: [
      { index: 0, label: 0, predicted: 0, rank: 0, ...answer },
      { index: 1, label: 1, predicted: 0, rank: 1, ...answer },
    ],
    failures: [{ ...bad, reason: '"no" <video>' }],
    damaged: [],
  };
  const path = join(folder.root, 'report.html');
  const classNames = ['<b>"bold" & co</b>', 'plain'];
  const facts = [['x', '<y>']] as const;
  const accuracy = {
    kind: 'accuracy',
    clips: 1,
    crops: 1,
    videos: 2,
    failed: 1,
    top1: 50,
    top5: 100,
  } as const;
  const tested = [0, 1].map((epoch) => ({ ...accuracy, epoch, best: 50 }));
  const data = { title: 'a < b', facts, events: tested, classNames, evaluation, dataset };
  const aborted = writeReport(path, data, AbortSignal.abort());
  await expect(aborted).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect(existsSync(path)).toBe(false);
  await writeReport(path, data);
  const page = readFileSync(path, 'utf8');
  expect(page).toContain('<title>a &lt; b</title>');
  expect(page).not.toMatch(/<b>"bold"|<i>bad|<video>|<y>|<script|https?:/);
  expect(page).toContain('top-2');
  expect(page).not.toContain('top-5'); // of two classes
  expect(page).toContain('title="plain → &lt;b&gt;&quot;bold&quot; &amp; co&lt;/b&gt;: 1 of 1"');
  expect(page.match(/<img /g)).toHaveLength(1);
  expect(page).toMatch(/<div class="none">[^<]*frame \d+ of 12 [^<]*cannot be decoded/);
  expect(page).toContain('&lt;i&gt;bad&lt;/i&gt;.mp4</td><td>&quot;no&quot; &lt;video&gt;</td>');
});

test('the most confident clips come first, the lowest accuracies, and the most frequent of confusions', async () => {
  const answers = [
    // label, predicted, and their probabilities
    [1, 3, 0.05, 0.6],
    [5, 5, 0.8, 0.8],
    [2, 4, 0.2, 0.7],
    [6, 6, 0.5, 0.5],
    [1, 3, 0.3, 0.9],
    [5, 5, 0.95, 0.95],
    [2, 7, 0.1, 0.2],
  ] as const;
  const list = join(folder.root, 'many.txt');
  writeFileSync(list, 'good.mp4 0\n'.repeat(answers.length));
  const predictions = answers.map(([label, predicted, labelProbability, probability], index) => ({
    ...{ index, label, predicted, labelProbability, probability },
    rank: label === predicted ? 0 : 1,
  }));
  const bad = { epoch: 0, index: 0, where: 'many.txt:1', code: 'X' };
  const failures = [{ ...bad, path: 'a.mp4', reason: 'a.mp4: it is empty' }];
  const damaged = [{ ...bad, path: 'b.mp4', reason: 'frame 3 is damaged' }];
  const step = { kind: 'train', steps: 2 } as const;
  const events = [
    { ...step, epoch: 0, step: 0, loss: 3, lr: 8e-6 },
    { ...step, epoch: 0, step: 1, loss: 2, lr: 6e-6 },
    { ...step, epoch: 1, step: 0, loss: 1, lr: 4e-6 },
    { kind: 'accuracy', epoch: 0, top1: 10, top5: 20 },
    { kind: 'accuracy', epoch: 1, top1: 30, top5: 40 },
  ] as EngineEvent[];
  const path = join(folder.root, 'many.html');
  await writeReport(path, {
    title: 'many',
    facts: [],
    events,
    classNames: Array.from({ length: 81 }, (_, k) => `class ${k}`),
    evaluation: { top1: 0, top5: 0, predictions, failures, damaged },
    dataset: await VideoDataset.fromList(list, { root: folder.videos }),
  });
  const page = readFileSync(path, 'utf8');
  const section = (heading: string) => new RegExp(`<h2>${heading}(.*?)(<h2>|$)`, 's').exec(page)![1]!;
  const cells = (heading: string) =>
    Array.from(section(heading).matchAll(/<tr>(<td.*?)<\/tr>/g), ([, row]) =>
      row!.replace(/<\/td>(?=<td)/g, '|').replace(/<[^>]*>/g, ''),
    );
  expect(cells('Accuracy of each class')).toEqual([
    ...[
      'class 1|0.0 %|0 of 2|',
      'class 2|0.0 %|0 of 2|',
      'class 5|100.0 %|2 of 2|',
      'class 6|100.0 %|1 of 1|',
    ],
  ]);
  expect(cells('Most frequent confusions')).toEqual([
    ...['class 1|class 3|2', 'class 2|class 4|1', 'class 2|class 7|1'],
  ]);
  const captions = (heading: string) =>
    Array.from(section(heading).matchAll(/<figcaption>good.mp4: (.*?)<\/figcaption>/g), ([, caption]) =>
      caption!.replace(/<[^>]*>/g, '').replaceAll('\u00a0', ' '),
    );
  expect(captions('Most confident mistakes')).toEqual([
    'class 3 90.0 %, shows class 1 30.0 %',
    'class 4 70.0 %, shows class 2 20.0 %',
    'class 3 60.0 %, shows class 1 5.0 %',
    'class 7 20.0 %, shows class 2 10.0 %',
  ]);
  expect(captions('Recognised')).toEqual(['class 5 95.0 %', 'class 6 50.0 %']); // one of each class
  expect(cells('Videos that could not be read')).toEqual(['many.txt:1|a.mp4|it is empty']);
  expect(cells('Videos with damaged frames')).toEqual(['many.txt:1|b.mp4|frame 3 is damaged']);

  const [loss, , accuracy] = page.match(/<svg.*?<\/svg>/gs) as [string, string, string];
  const [a, b, c] = Array.from(loss.matchAll(/[ML]([\d.]+) [\d.]+(?=[L"])/g), ([, x]) => Number(x));
  expect(b! - a!).toBeCloseTo(c! - b!, 0); // halves of an epoch
  const ticks = Array.from(accuracy.matchAll(/middle">(\d+)</g), ([, tick]) => tick);
  expect(ticks).toEqual(['1', '2']); // epochs that were done by then
});

test('records are those of the last run that began anew; of a step or test that was done again the last counts', async () => {
  const path = join(folder.root, 'metrics.jsonl');
  expect(await readMetrics(path)).toEqual([]);
  const step = (loss: number) => ({ kind: 'train', epoch: 0, step: 0, loss });
  const begin = { kind: 'begin' };
  const [epoch, saved] = [
    { kind: 'epoch', epoch: 0 },
    { kind: 'checkpoint', epoch: 0 },
  ];
  const accuracy = (top1: number, epoch: number | null = 0) => ({ kind: 'accuracy', epoch, top1 });
  const before = [begin, step(1), epoch, accuracy(10), saved];
  const again = [begin, step(2), epoch, accuracy(20), saved, step(3), epoch, accuracy(30), saved];
  const last = [accuracy(40, null), accuracy(50, null)];
  const records = [...before, ...again, ...last].map((one) => JSON.stringify(one));
  writeFileSync(path, `${records.join('\n')}\n{"kind":"accu`);
  expect(await readMetrics(path)).toEqual([begin, saved, step(3), epoch, accuracy(30), saved, ...last]);
  await expect(readMetrics(folder.root)).rejects.toMatchObject({ code: 'ERR_FILE_READ' });
});
