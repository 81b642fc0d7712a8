import { FrameLoader, type FrameLoaderOptions } from '../../lib/data/frame_loader';
import { videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { numbersIn } from '../support/video';

const path = (name: string) => fixturePath(`video/${name}`);
// 40 frames each, with their numbers in them.
const files = ['h264_b_frames.mp4', 'av1.mkv', 'mjpeg.mov'].map(path);
const size = { width: 68, height: 48 };

async function collect(options: Partial<FrameLoaderOptions>, epoch = 0): Promise<[number, number[]][]> {
  const loader = await FrameLoader.open(files, { batchSize: 4, ...size, ...options });
  const batches: [number, number[]][] = [];
  for await (const { frames, file, indices } of loader.epoch(epoch)) {
    expect(numbersIn(frames, 68, 48)).toEqual(indices);
    batches.push([file, indices]);
  }
  expect(batches).toHaveLength(loader.length);
  return batches;
}
const sorted = (batches: [number, number[]][]) =>
  [...batches].sort((a, b) => a[0] - b[0] || a[1][0]! - b[1][0]!);
const filesOf = (batches: [number, number[]][]) => batches.map(([file]) => file);

afterEach(() => expect(videoAddon().counters().openVideos).toBe(0));

test('in order, every frame once', async () => {
  const batches = await collect({});
  const expected = [0, 1, 2].flatMap((file) =>
    Array.from({ length: 10 }, (_, b) => [file, [4 * b, 4 * b + 1, 4 * b + 2, 4 * b + 3]]),
  );
  expect(batches).toEqual(expected);
});

test('frames left out within batches and between them', async () => {
  const batches = await collect({ batchSize: 3, interval: 4, skip: 2 });
  // 11 frames from first to last, then 2: starts at 0, 13, 26 (the last frame is 36 then).
  expect(batches.slice(0, 4)).toEqual([
    [0, [0, 5, 10]],
    [0, [13, 18, 23]],
    [0, [26, 31, 36]],
    [1, [0, 5, 10]],
  ]);
  expect(await collect({ batchSize: 40 })).toHaveLength(3);
  expect(await collect({ batchSize: 41 })).toEqual([]);
});

describe('shuffled', () => {
  test.each(['files', 'frames', 'all'] as const)(
    '%s: every batch once, a new order each epoch',
    async (shuffle) => {
      const first = await collect({ shuffle, seed: 5 });
      expect(sorted(first)).toEqual(await collect({}));
      expect(await collect({ shuffle, seed: 5 })).toEqual(first);
      const others = await Promise.all([1, 2, 3].map((epoch) => collect({ shuffle, seed: 5 }, epoch)));
      expect(others.some((other) => JSON.stringify(other) !== JSON.stringify(first))).toBe(true);
    },
  );

  test('what stays together', async () => {
    const byFile = (batches: [number, number[]][]) =>
      [0, 1, 2].map((file) => batches.filter(([f]) => f === file));
    const ordered = await collect({});
    const shuffledFiles = await collect({ shuffle: 'files', seed: 1 });
    expect(byFile(shuffledFiles)).toEqual(byFile(ordered));
    expect(filesOf(shuffledFiles).filter((file, i, all) => file !== all[i - 1])).toHaveLength(3);
    const shuffledFrames = await collect({ shuffle: 'frames', seed: 1 });
    expect(filesOf(shuffledFrames)).toEqual(filesOf(ordered));
    expect(shuffledFrames).not.toEqual(ordered);
    const all = await collect({ shuffle: 'all', seed: 1 });
    expect(filesOf(all).filter((file, i, list) => file !== list[i - 1]).length).toBeGreaterThan(6);
  });
});

test('an early end of the loop closes what is open, and few files are open at a time', async () => {
  const many = Array.from({ length: 20 }, () => files[0]!);
  const options = { batchSize: 40, ...size, shuffle: 'files' as const, prefetchBatches: 3 };
  const loader = await FrameLoader.open(many, options);
  let seen = 0;
  for await (const _ of loader) {
    expect(videoAddon().counters().openVideos).toBeLessThanOrEqual(2 * 3 + 1);
    if (++seen === 12) break;
  }
  expect(seen).toBe(12);
});

test('a missing file, a signal, bad settings', async () => {
  const open = (more: Partial<FrameLoaderOptions>, sources = files) =>
    FrameLoader.open(sources, { batchSize: 4, ...size, ...more });
  await expect(open({}, [...files, path('none.mp4')])).rejects.toMatchObject({
    code: 'ERR_FILE_NOT_FOUND',
    message: expect.stringContaining('none.mp4'),
  });
  await expect(open({ signal: 5 as never })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  await expect(open({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  for (const bad of [
    { batchSize: 0 },
    { interval: -1 },
    { skip: 0.5 },
    { prefetchBatches: 0 },
    { shuffle: 'some' as never },
    { width: 0 },
    { height: undefined },
    { seed: 0.5 },
    { seed: -1 },
    { shortSide: 20 } as never,
  ]) {
    await expect(open(bad)).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  }
  const abort = new AbortController();
  const loader = await open({ signal: abort.signal });
  const iterate = async () => {
    for await (const _ of loader) abort.abort();
  };
  await expect(iterate()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});
