import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VideoDataset } from '../../lib/data/video_dataset';
import type { Evaluation } from '../../lib/engine/evaluate';
import { writeReport } from '../../lib/engine/report';
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
  expect(page.match(/<img /g)).toHaveLength(1);
  expect(page).toMatch(/<div class="none">[^<]*frame \d+ of 12 [^<]*cannot be decoded/);
  expect(page).toContain('&lt;i&gt;bad&lt;/i&gt;.mp4</td><td>&quot;no&quot; &lt;video&gt;</td>');
});
