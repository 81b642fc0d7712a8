import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeSyntheticDataset } from '../../../lib/data/synthetic';
import { VideoDataset } from '../../../lib/data/video_dataset';
import { videoAddon } from '../../../lib/native/video';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'synthetic-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const small = { trainPerClass: 2, valPerClass: 1, seed: 5, side: 32, frameCount: 8 } as const;

/** Mean column of the red pixels of one frame of `small` video. */
function redCenter(frames: Uint8Array, frame: number): number {
  let [sum, area] = [0, 0];
  for (let k = 0; k < 32 * 32; k++) {
    const at = 3 * (frame * 32 * 32 + k);
    if (frames[at]! - frames[at + 1]! < 60) continue;
    sum += k % 32;
    area++;
  }
  return sum / area;
}

test('writes lists, class tables and videos that decode to what was drawn', async () => {
  const progress: number[] = [];
  const written = await writeSyntheticDataset(folder, {
    ...small,
    specification: 'hard',
    onProgress: (done, total) => progress.push(done / total),
  });
  expect([written.seen.length, written.unseen.length, written.videoCount]).toEqual([30, 6, 96]);
  expect(progress.length).toBe(96);
  expect(progress.at(-1)).toBe(1);

  const open = (list: string, names: string[]) =>
    VideoDataset.fromList(list, { root: written.videoFolder, numClasses: names.length });
  const [train, val, unseen] = [
    await open(written.trainList, written.seen),
    await open(written.valList, written.seen),
    await open(written.unseenList, written.unseen),
  ];
  expect([train.length, val.length, unseen.length]).toEqual([60, 30, 6]);
  for (const { name, label } of train.samples) {
    expect(name.startsWith(written.seen[label]!.replaceAll(' ', '_'))).toBe(true);
  }
  expect(readFileSync(written.seenLabels, 'utf8').split('\n').slice(0, 2)).toEqual([
    'id,name',
    `0,${written.seen[0]}`,
  ]);
  expect(readFileSync(written.unseenLabels, 'utf8').trim().split('\n').length).toBe(7);

  const addon = videoAddon();
  const video = await addon.openVideo(unseen.at(0).source);
  const info = addon.videoInfo(video);
  expect([info.frameCount, info.width, info.height, info.codec]).toEqual([8, 32, 32, written.codec]);
  const frames = new Uint8Array(8 * 32 * 32 * 3);
  await addon.readFrames(
    video,
    Int32Array.from({ length: 8 }, (_, i) => i),
    frames,
  );
  addon.closeVideo(video);
  expect(written.unseen[0]).toBe('red circle moving right');
  expect(redCenter(frames, 7) - redCenter(frames, 0)).toBeGreaterThan(8);
});

test('the same seed gives the same files; more training videos leave the others as they are', async () => {
  const [one, two] = [join(folder, 'one'), join(folder, 'two')];
  await writeSyntheticDataset(one, { ...small, specification: 'easy', trainPerClass: 1 });
  await writeSyntheticDataset(two, { ...small, specification: 'easy' });
  const names = readdirSync(join(one, 'videos'));
  expect(names.length).toBe(32 + 48);
  for (const name of names) {
    const [a, b] = [readFileSync(join(one, 'videos', name)), readFileSync(join(two, 'videos', name))];
    expect(a.equals(b)).toBe(true);
  }
});

test('aborted: no lists, no partial files', async () => {
  const controller = new AbortController();
  const run = writeSyntheticDataset(folder, {
    ...small,
    specification: 'both',
    signal: controller.signal,
    onProgress: () => controller.abort(),
  });
  await expect(run).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect(existsSync(join(folder, 'train.txt'))).toBe(false);
  expect(readdirSync(join(folder, 'videos')).every((name) => name.endsWith('.mp4'))).toBe(true);
});

test('a call that is aborted takes the lists of an earlier one away, whose videos it replaces', async () => {
  const root = join(folder, 'again');
  const options = { ...small, specification: 'easy', trainPerClass: 1, valPerClass: 1 } as const;
  const { trainList, seenLabels } = await writeSyntheticDataset(root, options);
  expect(existsSync(trainList)).toBe(true);
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  const { signal } = controller;
  const again = writeSyntheticDataset(root, { ...options, seed: 9, signal, onProgress });
  await expect(again).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect([trainList, seenLabels].some(existsSync)).toBe(false);
});

test.each([
  ['specification', 'eassy'],
  ['seed', Number.NaN],
  ['trainPerClass', 0],
  ['valPerClass', -1],
  ['side', 33],
  ['frameCount', 1.5],
])('refuses %s %p', async (name, value) => {
  await expect(
    writeSyntheticDataset(folder, { ...small, specification: 'easy', [name]: value }),
  ).rejects.toMatchObject({ code: 'ERR_ARGUMENT', message: expect.stringMatching(name) });
});

test('a folder that cannot be made is named', async () => {
  writeFileSync(join(folder, 'file'), '');
  const run = writeSyntheticDataset(join(folder, 'file'), { ...small, specification: 'easy' });
  await expect(run).rejects.toMatchObject({
    code: 'ERR_FILE_WRITE',
    message: expect.stringMatching('file/videos'),
  });
});
