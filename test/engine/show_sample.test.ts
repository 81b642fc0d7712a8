import { getEventListeners } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { VideoLoader } from '../../lib/data/loader';
import { packDataset } from '../../lib/data/pack';
import { sampleRandom } from '../../lib/data/random';
import { VideoDataset } from '../../lib/data/video_dataset';
import { VideoReader } from '../../lib/data/video_reader';
import { frameStrip } from '../../lib/engine/frame_strip';
import { datasetOf, trainPlannerOf } from '../../lib/engine/setup';
import { contactSheet, showSample } from '../../lib/engine/show_sample';
import { type VideoInfo, videoAddon } from '../../lib/native/video';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun();
});
afterAll(() => tiny.remove());

/** RGB bytes of a PNG that `encodePng` wrote: every row starts with filter 1, left neighbour. */
function pixelsOf(path: string): { width: number; pixels: Uint8Array } {
  const bytes = readFileSync(path);
  const width = bytes.readUInt32BE(16);
  const height = bytes.readUInt32BE(20);
  const data = bytes.indexOf('IDAT');
  const rows = inflateSync(bytes.subarray(data + 4, data + 4 + bytes.readUInt32BE(data - 4)));
  const stride = 3 * width;
  const pixels = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < stride; x++) {
      const left = x < 3 ? 0 : pixels[y * stride + x - 3]!;
      pixels[y * stride + x] = (rows[y * (stride + 1) + 1 + x]! + left) & 255;
    }
  }
  return { width, pixels };
}

test('the pictures are what training loads, and the plan makes them again', async () => {
  const config = tiny.config();
  const output = join(tiny.root, 'shown');
  const shown = await showSample(config, { index: 4, epoch: 3, kind: 'train', output });
  expect(shown).toMatchObject({ views: 1, frames: 4, label: 1 });
  const frames = [0, 1, 2, 3].map((i) => pixelsOf(join(output, `view_00_frame_0${i}.png`)).pixels);

  const dataset = await datasetOf(config, 'TRAIN_FILE');
  const planner = trainPlannerOf(config);
  const common = { dataset, planner, batchSize: 9, seed: config.SEED, onError: 'fail' } as const;
  for await (const batch of new VideoLoader({ ...common, training: true }).epoch(3)) {
    const row = batch.indices.indexOf(4);
    const mean = [123.675, 116.28, 103.53];
    const std = [58.395, 57.12, 57.375];
    for (const [t, frame] of frames.entries()) {
      for (const channel of [0, 1, 2]) {
        const start = ((row * 4 + t) * 3 + channel) * 1024;
        const loaded = batch.frames.subarray(start, start + 1024);
        loaded.forEach((value, i) => {
          expect(value * std[channel]! + mean[channel]!).toBeCloseTo(frame[3 * i + channel]!, 2);
        });
      }
    }
  }

  const { plan, location, ...record } = JSON.parse(readFileSync(join(output, 'plan.json'), 'utf8'));
  expect(record).toEqual({ label: 1, kind: 'train', index: 4, epoch: 3, seed: 7 });
  using video = await VideoReader.open(location as string);
  const replayed = new Uint8Array(4 * 32 * 32 * 3);
  await video.runPlan(plan, replayed);
  expect(Buffer.concat(frames).equals(replayed)).toBe(true);
  expect(pixelsOf(shown.sheet).width).toBe(4 * 32);
});

test('test views: a row each', async () => {
  const output = join(tiny.root, 'views');
  const config = tiny.config(['TEST.NUM_CLIP', '2', 'TEST.NUM_CROP', '3']);
  const { openVideos } = videoAddon().counters();
  const shown = await showSample(config, { index: 0, epoch: 0, kind: 'test', output });
  expect(videoAddon().counters().openVideos).toBe(openVideos);
  expect(shown).toMatchObject({ views: 6, frames: 4 });
  expect(readdirSync(output)).toHaveLength(24 + 2);
  expect(pixelsOf(shown.sheet).pixels).toHaveLength(6 * 32 * 4 * 32 * 3);
  await expect(showSample(config, { index: 99, epoch: 0, kind: 'test', output })).rejects.toMatchObject({
    code: 'ERR_INDEX_RANGE',
  });
});

test('AUG.SHIFT counts where AUG.MULTI_SCALE_CROP does not choose the crop', () => {
  const info = { frameCount: 20, width: 64, height: 48 } as VideoInfo;
  const plan = (...opts: string[]) => trainPlannerOf(tiny.config(opts)).plan(info, sampleRandom(1, 2, 3));
  const shift = ['AUG.SHIFT', '4'];
  expect(plan(...shift)).toEqual(plan());
  expect(plan(...shift, 'AUG.MULTI_SCALE_CROP', 'False')).not.toEqual(plan());
});

test('TEST.FRAME_ORDER is that of the frames', async () => {
  const framesIn = async (order: string) => {
    const output = join(tiny.root, order);
    const config = tiny.config(['TEST.FRAME_ORDER', order]);
    await showSample(config, { index: 0, epoch: 0, kind: 'test', output });
    return JSON.parse(readFileSync(join(output, 'plan.json'), 'utf8')).plan.frames;
  };
  const forward = await framesIn('forward');
  expect(new Set(forward).size).toBe(4);
  expect(await framesIn('reversed')).toEqual([...forward].reverse());
});

test('the listing of an archive is told of', async () => {
  const archive = join(tiny.root, 'shown.tar');
  const list = join(tiny.root, 'train.txt');
  const dataset = await VideoDataset.fromList(list, { root: join(tiny.root, 'videos') });
  await packDataset(dataset, { output: archive });
  const told: string[] = [];
  const onListing = (name: string) => told.push(name);
  const config = tiny.config(['DATA.TRAIN_FILE', archive]);
  const output = join(tiny.root, 'out_of_archive');
  await showSample(config, { index: 0, epoch: 0, kind: 'train', output, onListing });
  expect(told).toContain(archive);
});

test('its signal ends the listing, the decoding and the writing of pictures', async () => {
  const output = join(tiny.root, 'aborted');
  const config = tiny.config(['TEST.NUM_CLIP', '2', 'TEST.NUM_CROP', '3']);
  const show = (signal: AbortSignal) =>
    showSample(config, { index: 0, epoch: 0, kind: 'test', output, signal });
  await expect(show(AbortSignal.abort())).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect(existsSync(output)).toBe(false);

  const controller = new AbortController();
  const { signal } = controller;
  const watch = () => {
    if (existsSync(join(output, 'view_00_frame_00.png'))) controller.abort();
    else setImmediate(watch);
  };
  watch();
  await expect(show(signal)).rejects.toMatchObject({
    code: 'ERR_ABORTED',
    message: `writing pictures to ${output} was aborted`,
  });
  expect(existsSync(join(output, 'view_05_frame_03.png'))).toBe(false);
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});

test('a strip has the frames of a video from left to right, and closes it', async () => {
  const [path, strip] = [join(tiny.root, 'brighter.mp4'), join(tiny.root, 'strip.png')];
  const frames = Uint8Array.from({ length: 16 * 64 * 64 * 3 }, (_, i) => 15 * Math.floor(i / (64 * 64 * 3)));
  await videoAddon().encodeVideo(path, { width: 64, height: 64, fps: 10 }, frames);
  const { openVideos } = videoAddon().counters();
  writeFileSync(strip, await frameStrip({ path }));
  expect(videoAddon().counters().openVideos).toBe(openVideos);
  const { width, pixels } = pixelsOf(strip);
  expect([width, pixels.length / width / 3]).toEqual([8 * 96, 96]);
  const middles = Array.from({ length: 8 }, (_, k) => pixels[3 * (48 * width + 96 * k + 48)]!);
  expect(middles).toEqual(Array.from({ length: 8 }, (_, k) => expect.closeTo(30 * k + 15, -1)));
});

test('a contact sheet breaks the frames of a view over rows', () => {
  const colours = Uint8Array.from({ length: 2 * 3 * 3 }, (_, i) => Math.floor(i / 3)); // 2 views of 3 one-pixel frames
  const sheet = contactSheet(colours, 2, 3, 2, 1);
  expect(Array.from({ length: 8 }, (_, i) => sheet[3 * i])).toEqual([0, 1, 2, 0, 3, 4, 5, 0]);
});
