import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { compareDecoding } from '../../lib/data/decode_speed';
import { type CacheSettings, cacheDataset } from '../../lib/data/short_gop_cache';
import { VideoDataset } from '../../lib/data/video_dataset';
import { VideoReader } from '../../lib/data/video_reader';
import { videoAddon } from '../../lib/native/video';
import { buildCli, runCli } from '../support/built_cli';
import { numberedFrames, numbersIn } from '../support/video';
import { makeVideoFolder, type VideoFolder } from '../support/video_folder';

let folder: VideoFolder;
beforeAll(async () => {
  folder = await makeVideoFolder([
    ['x/a.mp4', 3],
    ['b.mov', 1],
    ['broken.mp4', 0],
  ]);
  // A larger one, with a single key frame.
  const options = { width: 160, height: 120, fps: 20, gop: 600 };
  await videoAddon().encodeVideo(join(folder.videos, 'x/a.mp4'), options, numberedFrames(30, 160, 120));
  writeFileSync(join(folder.videos, 'broken.mp4'), 'no video');
});
afterAll(() => folder.remove());

const settings: CacheSettings = { shortSide: 60, gop: 8, quality: 2 };
const output = () => join(folder.root, 'cached');

async function cache(changed: Partial<CacheSettings> = {}, signal?: AbortSignal, place = output()) {
  const dataset = await VideoDataset.fromList(folder.list, { root: folder.videos });
  return cacheDataset(dataset, {
    output: place,
    listName: 'list.txt',
    settings: { ...settings, ...changed },
    signal,
  });
}

test('copies have the wanted size, all frames in order and a key frame every few; the bad video is named', async () => {
  const { list, entries, failed } = await cache();
  expect(readFileSync(list, 'utf8')).toBe('x/a.mp4 3\nb.mov.mp4 1\n');
  expect(entries).toHaveLength(2);
  expect(failed).toMatchObject([{ name: 'broken.mp4', code: 'ERR_VIDEO_FORMAT', where: `${folder.list}:3` }]);
  using large = await VideoReader.open(join(output(), 'x/a.mp4'));
  expect([large.width, large.height, large.length, large.fps]).toEqual([80, 60, 30, 20]);
  expect([...large.info.keyFrames]).toEqual([0, 8, 16, 24]);
  // Blocks of 16 pixels are 8 in the copy: numbers are read where their middles are now.
  const frames = await large.getBatch([5, 29]);
  const scaled = numbersIn(enlarge(frames, 80, 60), 160, 120);
  expect(scaled).toEqual([5, 29]);
  using small = await VideoReader.open(join(output(), 'b.mov.mp4'));
  expect([small.width, small.height]).toEqual([64, 48]); // not made larger than it is
});

test('neither originals nor other copies are taken for the copy of a video', async () => {
  await expect(cache({}, undefined, folder.videos)).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: expect.stringContaining('has the originals'),
  });
  const list = join(folder.root, 'two.txt');
  writeFileSync(list, 'b.mov 1\nb.mov.mp4 0\n');
  const dataset = await VideoDataset.fromList(list, { root: folder.videos });
  const options = { output: join(folder.root, 'two'), listName: 'two.txt', settings };
  await expect(cacheDataset(dataset, options)).rejects.toMatchObject({
    code: 'ERR_LIST_FORMAT',
    message: expect.stringMatching(/two\.txt:2: .*"b\.mov\.mp4" and "b\.mov" .* would both be "b\.mov\.mp4"/),
  });
});

test('what a killed call left unfinished is removed, and nothing of a running one', async () => {
  const place = join(folder.root, 'killed');
  mkdirSync(place);
  const running = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  const ended = spawnSync(process.execPath, ['-e', '']);
  const left = (host: string, pid: number | undefined, old = false) => {
    const path = join(place, `.unfinished-${host}-${pid}-aB3dEf`);
    mkdirSync(path);
    writeFileSync(join(path, 'b.mov.mp4.part'), 'the beginning');
    if (old) utimesSync(path, 1e9, 1e9);
    return basename(path);
  };
  try {
    left(hostname(), ended.pid);
    left(hostname(), process.pid, true); // of a container that had the same number
    const kept = [left(hostname(), running.pid), left('another-machine', ended.pid)];
    await cache({}, undefined, place);
    expect(readdirSync(place).sort()).toEqual([...kept, 'b.mov.mp4', 'cache.json', 'list.txt', 'x'].sort());
  } finally {
    running.kill();
  }
});

test('a killed command is gone on with, and leaves nothing behind', async () => {
  const place = join(folder.root, 'killed_command');
  const whole = join(folder.videos, 'long.mp4');
  const encoder = { width: 320, height: 240, fps: 20, gop: 12 };
  await videoAddon().encodeVideo(whole, encoder, numberedFrames(300, 320, 240));
  const list = join(folder.root, 'long.txt');
  writeFileSync(list, 'long.mp4 0\n');
  const words = ['data', 'cache', list, '--root', folder.videos, '--output', place];
  const child = spawn(process.execPath, [buildCli(), ...words], { stdio: 'ignore' });
  const unfinished = () => readdirSync(place).filter((name) => name.startsWith('.unfinished-'));
  for (;;) {
    const [begun] = existsSync(place) ? unfinished() : [];
    if (begun && readdirSync(join(place, begun)).length > 0) break;
    if (child.exitCode !== null) throw new Error('it ended before it was killed');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  child.kill('SIGKILL');
  await once(child, 'close');
  expect(unfinished()).toHaveLength(1);
  expect(existsSync(join(place, 'long.mp4'))).toBe(false);
  expect(await runCli(words)).toMatchObject({ status: 0 });
  expect(readdirSync(place).sort()).toEqual(['cache.json', 'long.mp4', 'long.txt']);
});

test('copies that are there stay; other settings are refused; an abort stops', async () => {
  await cache();
  const before = statSync(join(output(), 'x/a.mp4')).mtimeMs;
  await cache();
  expect(statSync(join(output(), 'x/a.mp4')).mtimeMs).toBe(before);
  await expect(cache({ gop: 4 })).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: expect.stringContaining('copies with other settings'),
  });
  await expect(cache({}, AbortSignal.abort())).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect(readdirSync(output()).sort()).toEqual(['b.mov.mp4', 'cache.json', 'list.txt', 'x']);
});

test.each([{ gop: 601 }, { quality: 0 }, { shortSide: 1.5 }])(
  'settings %j are refused, and claim no folder',
  async (changed) => {
    const place = join(folder.root, 'unclaimed');
    await expect(cache(changed, undefined, place)).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    expect(readdirSync(folder.root)).not.toContain('unclaimed');
  },
);

test('settings that cannot be read are not taken for none: copies could be of others', async () => {
  const place = join(folder.root, 'unreadable');
  mkdirSync(join(place, 'cache.json'), { recursive: true });
  await expect(cache({}, undefined, place)).rejects.toMatchObject({
    code: 'ERR_FILE_READ',
    message: expect.stringMatching(/unreadable\/cache\.json cannot be read: it is a folder \(EISDIR\)/),
  });
  expect(readdirSync(place)).toEqual(['cache.json']);
});

test('the comparison counts clips of both sides', async () => {
  const source = { path: join(folder.videos, 'b.mov') };
  await expect(compareDecoding([[source, source]], AbortSignal.abort())).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  const { videos, before, after } = await compareDecoding([[source, source]]);
  expect(videos).toBe(1);
  expect(before).toBeGreaterThan(0);
  expect(after).toBeGreaterThan(0);
});

test('a video of several pieces is copied whole', async () => {
  const path = join(folder.videos, 'b.mov');
  const options = { width: 960, height: 720, fps: 20, gop: 20 };
  await videoAddon().encodeVideo(path, options, numberedFrames(19, 960, 720)); // 8 frames to a piece
  const place = join(folder.root, 'whole');
  await cache({ shortSide: 720 }, undefined, place);
  using copy = await VideoReader.open(join(place, 'b.mov.mp4'));
  expect(copy.length).toBe(19);
  const numbers = Array.from({ length: 19 }, (_, i) => i);
  expect(numbersIn(await copy.getBatch(numbers), 960, 720)).toEqual(numbers);
});

test('a video with a picture in minutes is copied, at the lowest rate that can be written', async () => {
  const path = join(folder.videos, 'b.mov');
  const options = { width: 64, height: 48, fps: 10 };
  await videoAddon().encodeVideo(path, options, numberedFrames(3, 64, 48));
  const bytes = readFileSync(path);
  const header = bytes.indexOf('mdhd') + 4;
  bytes.writeUInt32BE(1, header + 12); // the units of its times are whole seconds now
  bytes.write('free', bytes.indexOf('edts')); // and nothing is cut off
  writeFileSync(path, bytes);
  using slow = await VideoReader.open(path);
  expect(slow.fps).toBeLessThan(0.01);
  const place = join(folder.root, 'slow');
  await cache({}, undefined, place);
  using copy = await VideoReader.open(join(place, 'b.mov.mp4'));
  expect([copy.length, copy.fps]).toEqual([3, 0.01]);
});

/** Each pixel twice in both directions. */
function enlarge(rgb: Uint8Array, width: number, height: number): Uint8Array {
  const count = rgb.length / (width * height * 3);
  const out = new Uint8Array(rgb.length * 4);
  let at = 0;
  for (let i = 0; i < count; i++) {
    for (let y = 0; y < 2 * height; y++) {
      for (let x = 0; x < 2 * width; x++) {
        const from = ((i * height + (y >> 1)) * width + (x >> 1)) * 3;
        out.set(rgb.subarray(from, from + 3), at);
        at += 3;
      }
    }
  }
  return out;
}
