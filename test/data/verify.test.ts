import { appendFileSync, existsSync, readFileSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { forgetProgress, verifyDataset } from '../../lib/data/verify';
import { VideoDataset } from '../../lib/data/video_dataset';
import { damageVideo, makeVideoFolder, type VideoFolder } from '../support/video_folder';

const names = ['good.mp4', 'damaged one.mp4', 'text.mp4', 'gone.mp4', 'last.mp4'];
let folder: VideoFolder;
beforeAll(async () => {
  folder = await makeVideoFolder([...names.map((name, i) => [name, i] as const), ['good.mp4', 7]]);
  damageVideo(join(folder.videos, 'damaged one.mp4'));
  writeFileSync(join(folder.videos, 'text.mp4'), 'no video');
  unlinkSync(join(folder.videos, 'gone.mp4'));
});
afterAll(() => folder.remove());

const journal = () => join(folder.root, 'report.json.partial');

async function verify(signal?: AbortSignal, subject = 'all', onProgress?: (done: number) => void) {
  const dataset = await VideoDataset.fromList(folder.list, { root: folder.videos });
  return verifyDataset(dataset, { journal: journal(), subject, signal, onProgress });
}

test('names each bad video, why, and from which frame and second on', async () => {
  const report = await verify();
  expect(report.videos).toBe(5);
  expect(report.frames).toBe(24);
  expect(report.bad.map(({ name, code }) => [name, code])).toEqual([
    ['damaged one.mp4', 'ERR_VIDEO_DECODE'],
    ['text.mp4', 'ERR_VIDEO_FORMAT'],
    ['gone.mp4', 'ERR_FILE_NOT_FOUND'],
  ]);
  const [damaged, text] = report.bad;
  expect(damaged!.frame).toBeGreaterThan(0);
  expect(damaged!.frame).toBeLessThan(12);
  expect(damaged!.seconds).toBeCloseTo(damaged!.frame! / 10, 6);
  expect(damaged!.reason).toContain(`frame ${damaged!.frame}`);
  expect(damaged!.where).toBe(`${folder.list}:2`);
  expect(text).toMatchObject({ frame: null, seconds: null });
});

test('goes on where it was interrupted, and only for the same subject', async () => {
  await forgetProgress(journal());
  expect(existsSync(journal())).toBe(false);
  const controller = new AbortController();
  const stopped = verify(controller.signal, 'all', (done) => done === 2 && controller.abort());
  await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  const recorded = readFileSync(journal(), 'utf8').trim().split('\n').length - 1;
  expect(recorded).toBeGreaterThanOrEqual(2);
  appendFileSync(journal(), '{"name":"last.mp4","fra'); // cut short by a crash
  const seen: number[] = [];
  const report = await verify(undefined, 'all', (done) => seen.push(done));
  expect(seen).toEqual(Array.from({ length: 6 - recorded }, (_, i) => recorded + i)); // only what was left
  expect(report.bad).toHaveLength(3);
  // The line that was cut short took none of those that came after it with it.
  await verify(undefined, 'all', (done) => seen.push(done));
  expect(seen.slice(6 - recorded)).toEqual([5]);
  await verify(undefined, 'another list', (done) => seen.push(-done));
  expect(seen).toContain(-0);
});

test('what was found of a file counts until it is changed or replaced, and names the line of now', async () => {
  await forgetProgress(journal());
  const first = await verify();
  const text = join(folder.videos, 'text.mp4');
  const good = readFileSync(join(folder.videos, 'good.mp4'));
  writeFileSync(text, good); // another size
  writeFileSync(join(folder.videos, 'gone.mp4'), good); // it is there now
  const damaged = join(folder.videos, 'damaged one.mp4');
  utimesSync(damaged, new Date(), new Date(Date.now() + 5000)); // of the same size
  writeFileSync(folder.list, `new.mp4 0\n${readFileSync(folder.list, 'utf8')}`);
  const seen: number[] = [];
  const second = await verify(undefined, 'all', (done) => seen.push(done));
  expect(seen).toEqual([2, 3, 4, 5, 6]); // good.mp4 and last.mp4 are as they were
  expect(first.bad.map(({ name }) => name)).toEqual(['damaged one.mp4', 'text.mp4', 'gone.mp4']);
  expect(second.bad.map(({ name }) => name)).toEqual(['new.mp4', 'damaged one.mp4']);
  expect(second.frames).toBe(48);
  writeFileSync(folder.list, `other.mp4 0\n${readFileSync(folder.list, 'utf8')}`);
  const third = await verify();
  expect(third.bad.map(({ name, where }) => [name, where])).toEqual([
    ['other.mp4', `${folder.list}:1`],
    ['new.mp4', `${folder.list}:2`],
    ['damaged one.mp4', `${folder.list}:4`],
  ]);
});

test('a deadline that is none is not the fault of any video', async () => {
  const dataset = await VideoDataset.fromList(folder.list, { root: folder.videos });
  const options = { journal: join(folder.root, 'none.partial'), subject: 'all', deadlineMs: 0 };
  await expect(verifyDataset(dataset, options)).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: expect.stringContaining('deadlineMs'),
  });
  expect(readFileSync(options.journal, 'utf8').trim().split('\n')).toHaveLength(1); // nothing is noted
});
