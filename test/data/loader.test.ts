import { getEventListeners } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Philox } from '../../lib/base/philox';
import type { Batch } from '../../lib/data/batch';
import { type LoaderOptions, VideoLoader } from '../../lib/data/loader';
import { drawMix, mixTargets, smoothTargets } from '../../lib/data/mixup';
import { testPlanner, trainPlan, trainPlanner } from '../../lib/data/plan';
import { mixRandom, orderRandom, sampleRandom } from '../../lib/data/random';
import { VideoDataset } from '../../lib/data/video_dataset';
import { videoAddon } from '../../lib/native/video';

// Eleven real videos of 24 frames; video i is a grey from level 20 i on that brightens by one per frame, and to the right and
// downward, so that every crop and mirror image is another one.
const [count, width, height, frameCount] = [11, 64, 48, 24];
const recipe = { numFrames: 4, inputSize: 32, shift: 0, flip: 0.5, colorJitter: 0.8, grayScale: 0.2 };
const addon = videoAddon();
let folder: string;
let dataset: VideoDataset;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'loader-'));
  for (let i = 0; i < count; i++) {
    const frames = new Uint8Array(frameCount * height * width * 3).map((_, k) => {
      const [x, y] = [Math.floor(k / 3) % width, Math.floor(k / 3 / width) % height];
      return 20 * i + Math.floor(k / (height * width * 3)) + (x >> 2) + (y >> 3);
    });
    await addon.encodeVideo(
      join(folder, `${i}.mp4`),
      { width, height, fps: 10, codec: 'mpeg4', quality: 1 },
      frames,
    );
  }
  dataset = await listOf(Array.from({ length: count }, (_, i) => `${i}.mp4`));
});
afterAll(() => rmSync(folder, { recursive: true }));

function listOf(names: string[]): Promise<VideoDataset> {
  writeFileSync(join(folder, 'list.txt'), names.map((name, i) => `${name} ${i % 5}\n`).join(''));
  return VideoDataset.fromList(join(folder, 'list.txt'), { root: folder, numClasses: 5 });
}

const training = (changed: Partial<LoaderOptions> = {}): LoaderOptions => ({
  dataset,
  planner: trainPlanner(recipe),
  batchSize: 4,
  seed: 7,
  training: true,
  onError: 'fail',
  ...changed,
});
const evaluation = (changed: Partial<LoaderOptions> = {}): LoaderOptions => ({
  ...training(),
  planner: testPlanner({ numFrames: 4, inputSize: 32, numClips: 2, numCrops: 3 }),
  training: false,
  ...changed,
});

const mixing = { numClasses: 5, smoothing: 0.1, mixup: 0.8, cutmix: 1, switchProbability: 0.5 };

interface Copy extends Pick<Batch, 'index' | 'shape' | 'failed'> {
  frames: Float32Array;
  labels: number[];
  indices: number[];
  targets: Float32Array | undefined;
}

/** The batches of an epoch, copied and released. */
async function collect(loader: VideoLoader, epoch = 0, startBatch = 0): Promise<Copy[]> {
  const copies: Copy[] = [];
  for await (const batch of loader.epoch(epoch, { startBatch })) {
    const { index, shape, failed, targets } = batch;
    const [labels, indices] = [[...batch.labels], [...batch.indices]];
    copies.push({ index, shape, failed, targets, labels, indices, frames: batch.frames.slice() });
    batch.release();
  }
  return copies;
}

const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
const digest = (batches: Copy[]) =>
  batches.map(({ frames, indices }) => [indices, bytes(frames).toString('base64')]);

test('a row holds exactly what the plan of its sample writes', async () => {
  const [, second] = await collect(new VideoLoader(training()), 3);
  expect(second!.shape).toEqual([4, 4, 3, 32, 32]);
  expect(second!.labels).toEqual(second!.indices.map((index) => index % 5));
  await expectRows(second!, dataset, (_, index) => sampleRandom(7, 3, index));
});

test('a batch by itself is the one of its epoch, and is not counted', async () => {
  const loader = new VideoLoader(training({ mix: mixing }));
  const [, expected] = await collect(loader, 3);
  const counters = { ...loader.counters };
  const batch = await loader.batch(3, 1);
  const { index, labels, indices, targets, frames } = batch;
  expect([index, [...labels], [...indices], targets]).toEqual([
    1,
    expected!.labels,
    expected!.indices,
    expected!.targets,
  ]);
  expect(bytes(frames).equals(bytes(expected!.frames))).toBe(true);
  batch.release();
  expect(loader.counters).toEqual(counters);
  await expect(loader.batch(3, 2)).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  const stopped = new VideoLoader(training({ signal: AbortSignal.abort() }));
  await expect(stopped.batch(0, 0)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});

/** Each row of a batch of training is what the plan drawn with its random numbers writes. */
async function expectRows(
  { indices, frames }: Copy,
  { samples }: VideoDataset,
  randomOf: (row: number, index: number) => Philox,
): Promise<void> {
  const size = 4 * 3 * 32 * 32;
  for (const [row, index] of indices.entries()) {
    const video = await addon.openVideo(samples[index]!.source);
    const alone = new Float32Array(size);
    await addon.runPlan(video, trainPlan(addon.videoInfo(video), recipe, randomOf(row, index)), alone, 0);
    addon.closeVideo(video);
    expect(bytes(frames.subarray(row * size, (row + 1) * size)).equals(bytes(alone))).toBe(true);
  }
}

test.each([
  ['training', () => training()],
  ['mixup', () => training({ mix: { ...mixing, cutmix: 0 } })],
  ['cutmix', () => training({ mix: { ...mixing, mixup: 0 } })],
  ['all views', () => evaluation()],
])('pixel work on the device gives the numbers of the host: %s', async (_, options) => {
  const expected = await collect(new VideoLoader(options()));
  const loader = new VideoLoader({ ...options(), pixelWork: 'device' });
  let count = 0;
  for await (const batch of loader.epoch(0)) {
    const { frames, indices, targets } = expected[count++]!;
    expect([[...batch.indices], batch.targets]).toEqual([indices, targets]);
    const onDevice = batch.tensor('cpu');
    expect([...onDevice.shape]).toEqual([...batch.shape]);
    expect(bytes((await onDevice.data()) as Float32Array).equals(bytes(frames))).toBe(true);
    onDevice.dispose();
    expect(() => batch.frames).toThrow(/use tensor\(\)/);
    batch.release();
    expect(() => batch.tensor('cpu')).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  }
  expect(count).toBe(expected.length);
});

test('one view of a batch is a slice of all of them, on host and device', async () => {
  for (const pixelWork of ['host', 'device'] as const) {
    for await (const batch of new VideoLoader({ ...evaluation(), pixelWork }).epoch(0)) {
      const all = batch.tensor('cpu');
      const values = (await all.data()) as Float32Array;
      const [count, views] = [batch.shape[0]!, batch.shape[1]!];
      const clip = values.length / count / views;
      for (let view = 0; view < views; view++) {
        const one = batch.tensor('cpu', view);
        const picked = (await one.data()) as Float32Array;
        expect([...one.shape]).toEqual([count, ...batch.shape.slice(2)]);
        for (let row = 0; row < count; row++) {
          const start = (row * views + view) * clip;
          const wanted = bytes(values.slice(start, start + clip));
          expect(bytes(picked.slice(row * clip, (row + 1) * clip)).equals(wanted)).toBe(true);
        }
        one.dispose();
      }
      all.dispose();
      batch.release();
    }
  }
});

test('training drops the short rest, shuffles by epoch, and repeats itself exactly', async () => {
  const loader = new VideoLoader(training());
  expect(loader.batchesPerEpoch).toBe(2);
  const [first, again, next] = [await collect(loader, 0), await collect(loader, 0), await collect(loader, 1)];
  expect(first.map(({ index }) => index)).toEqual([0, 1]);
  expect(digest(again)).toEqual(digest(first));
  const order = (batches: Copy[]) => batches.flatMap(({ indices }) => indices);
  expect(new Set(order(first)).size).toBe(8);
  expect(order(next)).not.toEqual(order(first));
  expect(loader.counters.batches).toBe(6);
  expect(loader.counters.samples).toBe(24);
});

test('the same bits with any number of workers, open videos and prefetched batches', async () => {
  const mix = mixing;
  const wanted = digest(await collect(new VideoLoader(training({ mix }))));
  for (const [workers, openVideos, prefetchBatches] of [
    [1, 1, 1],
    [3, 8, 4],
  ] as const) {
    addon.setWorkerCount(workers);
    expect(digest(await collect(new VideoLoader(training({ mix, openVideos, prefetchBatches }))))).toEqual(
      wanted,
    );
  }
  addon.setWorkerCount(2);
});

test('an epoch that starts in its middle continues as if it had not stopped', async () => {
  const options = training({ batchSize: 2 });
  const whole = await collect(new VideoLoader(options), 5);
  const rest = await collect(new VideoLoader(options), 5, 3);
  expect(digest(rest)).toEqual(digest(whole.slice(3)));
  expect(rest.map(({ index }) => index)).toEqual([3, 4]);
  expect(await collect(new VideoLoader(options), 5, 5)).toEqual([]);
});

test('mixing gives soft targets with rows that sum to one, and changes the pixels', async () => {
  const mix = mixing;
  const plain = await collect(new VideoLoader(training()));
  const mixed = await collect(new VideoLoader(training({ mix })));
  for (const [k, { targets, indices, frames }] of mixed.entries()) {
    expect(indices).toEqual(plain[k]!.indices);
    expect(plain[k]!.targets).toBeUndefined();
    expect(bytes(frames).equals(bytes(plain[k]!.frames))).toBe(false);
    for (let row = 0; row < 4; row++) {
      const sum = targets!.subarray(row * 5, row * 5 + 5).reduce((a, b) => a + b, 0);
      expect(sum).toBeCloseTo(1, 5);
    }
  }
});

test('evaluation shows every video exactly once, in any number of processes', async () => {
  for (const worldSize of [1, 2, 3, 4]) {
    const seen: number[] = [];
    for (let rank = 0; rank < worldSize; rank++) {
      const loader = new VideoLoader(evaluation({ rank, worldSize }));
      const batches = await collect(loader);
      expect(batches.length).toBe(loader.batchesPerEpoch);
      for (const batch of batches) expect(batch.shape).toEqual([batch.indices.length, 6, 4, 3, 32, 32]);
      seen.push(...batches.flatMap(({ indices }) => indices));
    }
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
  }
});

test('training ranks take equal numbers of batches, together those of one process', async () => {
  const indices = async (changed: Partial<LoaderOptions>) =>
    (await collect(new VideoLoader(training(changed)))).map((batch) => batch.indices);
  const [one, other] = [
    await indices({ batchSize: 2, worldSize: 2, rank: 0 }),
    await indices({ batchSize: 2, worldSize: 2, rank: 1 }),
  ];
  expect([one.length, other.length]).toEqual([3, 3]); // 12 places, the last filled up with the first sample
  const whole = (await indices({})).flat();
  const together = one.flatMap((row, k) => [row[0], other[k]![0], row[1], other[k]![1]]);
  expect(together.slice(0, 8)).toEqual(whole);
  expect(new Set(together.slice(0, count)).size).toBe(count);
  expect(together.slice(count)).toEqual([whole[0]]);
});

test('every batch of every rank is mixed by draws of its own', async () => {
  for (const rank of [0, 1]) {
    const loader = new VideoLoader(training({ batchSize: 2, worldSize: 2, rank, mix: mixing }));
    for (const { index, labels, targets } of await collect(loader, 1)) {
      const drawn = drawMix(mixing, 2, 32, 32, mixRandom(7, 1, 2 * index + rank));
      expect(targets).toEqual(mixTargets(smoothTargets(Int32Array.from(labels), 5, 0.1), drawn));
    }
  }
});

describe('bad videos', () => {
  let damaged: VideoDataset;
  beforeAll(async () => {
    writeFileSync(join(folder, 'text.mp4'), 'no video');
    copyFileSync(join(folder, '3.mp4'), join(folder, 'three again.mp4'));
    damaged = await listOf(['0.mp4', 'text.mp4', 'gone.mp4', 'three again.mp4', '4.mp4']);
  });

  test('fail: the error names the line of the list, the file and the reason', async () => {
    const loader = new VideoLoader(evaluation({ dataset: damaged, batchSize: 3 }));
    await expect(collect(loader)).rejects.toMatchObject({
      code: 'ERR_VIDEO_FORMAT',
      message: expect.stringMatching(/list\.txt:2: .*text\.mp4/),
    });
  });

  test.each(['skip', 'substitute'] as const)(
    '%s in evaluation: left out, counted and named',
    async (onError) => {
      const loader = new VideoLoader(evaluation({ dataset: damaged, batchSize: 3, onError }));
      const [first, second] = await collect(loader);
      expect([first!.indices, second!.indices]).toEqual([[0], [3, 4]]);
      expect(loader.failures.map(({ index, code }) => [index, code])).toEqual([
        [1, 'ERR_VIDEO_FORMAT'],
        [2, 'ERR_FILE_NOT_FOUND'],
      ]);
      expect(first!.failed).toEqual(loader.failures);
      expect(loader.failures[1]).toMatchObject({ path: join(folder, 'gone.mp4'), epoch: 0 });
      expect(loader.failures[1]!.where).toMatch(/list\.txt:3$/);
    },
  );

  test('skip closes the gap: rows after a bad one hold their own pixels', async () => {
    const good = await collect(
      new VideoLoader(evaluation({ dataset: damaged, batchSize: 5, onError: 'skip' })),
    );
    const alone = await collect(
      new VideoLoader(evaluation({ dataset: await listOf(['0.mp4', '3.mp4', '4.mp4']) })),
    );
    expect(good[0]!.shape[0]).toBe(3);
    expect(bytes(good[0]!.frames).equals(bytes(alone[0]!.frames))).toBe(true);
  });

  test('skip may leave an empty batch, so that step numbers stay', async () => {
    const dataset = await listOf(['gone.mp4', '0.mp4']);
    const batches = await collect(new VideoLoader(evaluation({ dataset, batchSize: 1, onError: 'skip' })));
    expect(batches.map(({ shape, frames }) => [shape[0], frames.length > 0])).toEqual([
      [0, false],
      [1, true],
    ]);
  });

  test.each(['skip', 'substitute'] as const)(
    '%s ends an epoch in which more videos fail than may, in training and evaluation',
    async (onError) => {
      const most = await listOf(['0.mp4', 'text.mp4', 'gone.mp4', 'lost.mp4', '4.mp4']);
      const wrong = expect.objectContaining({
        code: 'ERR_BAD_VIDEOS',
        message: expect.stringMatching(
          /DATA\.MAX_BAD_SHARE.*\/loader-.*list\.txt:\d: .*(text|gone|lost)\.mp4/s,
        ),
      });
      const options = { dataset: most, batchSize: 5, onError };
      await expect(collect(new VideoLoader(evaluation(options)))).rejects.toEqual(wrong);
      await expect(collect(new VideoLoader(training(options)))).rejects.toEqual(wrong);
      const lenient = new VideoLoader(evaluation({ ...options, maxBadShare: 0.6 }));
      expect((await collect(lenient))[0]!.indices).toEqual([0, 4]);
    },
  );

  test('of an epoch that starts in its middle, the share is that of the rest', async () => {
    const dataset = await listOf(['0.mp4', '1.mp4', '2.mp4', '4.mp4', 'gone.mp4', 'lost.mp4']);
    const loader = new VideoLoader(evaluation({ dataset, batchSize: 2, onError: 'skip' }));
    expect((await collect(loader)).map(({ indices }) => indices.length)).toEqual([2, 2, 0]);
    await expect(collect(loader, 0, 2)).rejects.toMatchObject({ code: 'ERR_BAD_VIDEOS' });
  });

  test('substitute in training: the next good video, always the same, by the draws of the bad one', async () => {
    const options = training({ dataset: damaged, batchSize: 5, onError: 'substitute' });
    const loader = new VideoLoader(options);
    const [batch] = await collect(loader, 2);
    expect([...batch!.indices].sort()).toEqual([0, 3, 3, 3, 4]);
    expect(batch!.labels).toEqual(batch!.indices.map((index) => index % 5));
    expect(loader.counters.failed).toBe(3); // video 1, then 2 in its place, and 2 itself
    expect(loader.failures.map(({ index }) => index).sort()).toEqual([1, 2]);
    expect(digest(await collect(new VideoLoader(options), 2))).toEqual(digest([batch!]));
    const asked = orderRandom(7, 2).permutation(5);
    await expectRows(batch!, damaged, (row) => sampleRandom(7, 2, asked[row]!));
  });

  test('substitute gives up when nothing can be loaded', async () => {
    const dataset = await listOf(['a.mp4', 'b.mp4']);
    const loader = new VideoLoader(training({ dataset, batchSize: 2, onError: 'substitute' }));
    await expect(collect(loader)).rejects.toMatchObject({
      code: 'ERR_FILE_NOT_FOUND',
      message: expect.stringMatching(/2 videos in a row.*\n.*[ab]\.mp4.*\n.*[ab]\.mp4/),
    });
  });
});

test('an abort signal ends the iteration; before it starts, at once', async () => {
  const controller = new AbortController();
  const loader = new VideoLoader(training({ batchSize: 1, signal: controller.signal }));
  const seen: number[] = [];
  const run = (async () => {
    for await (const batch of loader.epoch(0)) {
      seen.push(batch.index);
      if (batch.index === 1) controller.abort();
    }
  })();
  await expect(run).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect(seen).toEqual([0, 1]);
  await expect(collect(loader)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});

test('an epoch leaves nothing at its signal, however it ends', async () => {
  const { signal } = new AbortController();
  const loader = new VideoLoader(training({ signal }));
  await collect(loader);
  for await (const batch of loader.epoch(1)) {
    batch.release();
    break;
  }
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('leaving the loop early stops the work and closes every video', async () => {
  const loader = new VideoLoader(training({ batchSize: 1, prefetchBatches: 4 }));
  for await (const batch of loader.epoch(0)) {
    batch.release();
    break;
  }
  expect(addon.counters()).toMatchObject({ openVideos: 0, queued: 0, running: 0 });
});

test('released buffers go round, and reading one after release is an error', async () => {
  const loader = new VideoLoader(training({ batchSize: 1, prefetchBatches: 2 }));
  const buffers = new Set<ArrayBufferLike>();
  for await (const batch of loader.epoch(0)) {
    buffers.add(batch.frames.buffer);
    expect(batch.waitSeconds).toBeGreaterThanOrEqual(0);
    batch.release();
    batch.release();
    expect(() => batch.frames).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  }
  expect(loader.batchesPerEpoch).toBe(11);
  expect(buffers.size).toBeLessThanOrEqual(3);
});

test.each([
  ['batchSize', 0],
  ['batchSize', 1.5],
  ['rank', 1],
  ['worldSize', 0],
  ['prefetchBatches', 0],
  ['openVideos', 0],
  ['seed', -1],
  ['seed', Number.NaN],
])('refuses %s %p', (name, value) => {
  expect(() => new VideoLoader(training({ [name]: value }))).toThrow(
    expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringMatching(name) }),
  );
});
