import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { testPlan } from '../../../lib/data/plan';
import { sampleRandom } from '../../../lib/data/random';
import { VideoReader } from '../../../lib/data/video_reader';
import {
  type Footage,
  type LivePictures,
  type TimelineEntry,
  tokenize,
  type VideoClasses,
} from '../../../lib/models';
import type { Geometry } from '../../../lib/models/xclip/geometry';
import { XCLIP } from '../../../lib/models/xclip/xclip';
import { memory } from '../../../lib/native/device';
import { videoAddon } from '../../../lib/native/video';
import { noGrad } from '../../../lib/tensor/autograd';
import { tensor } from '../../../lib/tensor/tensor';
import { expectClose } from '../../support/check_op';
import { numberedFrames, temporaryFolder } from '../../support/video';

const geometry: Geometry = {
  arch: 'custom',
  frames: 4,
  embedDim: 64,
  imageSize: 32,
  patch: 16,
  visionWidth: 64,
  visionLayers: 1,
  visionHeads: 1,
  textWidth: 64,
  textLayers: 1,
  textHeads: 1,
  contextLength: 77,
  vocabSize: 49408,
  mitLayers: 1,
  mitHeads: 1,
  promptLayers: 1,
  promptHeads: 1,
  promptAlpha: 0.1,
};
const names = ['arm wrestling', 'flipping pancake', 'zumba'];
const folder = temporaryFolder();
const clips = ['a.mp4', 'b.mp4'].map((name) => join(folder, name));
let model: XCLIP;

beforeAll(async () => {
  model = new XCLIP(geometry, { seed: 1, device: 'auto', init: 'scratch' });
  for (const [i, clip] of clips.entries()) {
    await videoAddon().encodeVideo(
      clip,
      { width: 64, height: 48, fps: 12 },
      numberedFrames(30, 64, 48, 9 * i),
    );
  }
});
afterAll(() => model.dispose());

/** Averaged probabilities over the views of a test plan, the long way. */
async function probabilities(path: string, numClips: number, numCrops: 1 | 3): Promise<number[]> {
  const addon = videoAddon();
  const video = await addon.openVideo({ path });
  const options = { numFrames: 4, inputSize: 32, numClips, numCrops };
  const plan = testPlan(addon.videoInfo(video), options, sampleRandom(0, 0, 0));
  const views = numClips * numCrops;
  const pixels = new Float32Array(views * 4 * 3 * 32 * 32);
  await addon.runPlan(video, plan, pixels);
  addon.closeVideo(video);
  const frames = tensor(pixels, [views, 4, 3, 32, 32], { device: 'auto' });
  const logits = noGrad(() => model.forward(frames, tokenize(names)));
  const rows = (await logits.toArray()) as number[][];
  frames.dispose();
  logits.dispose();
  const scores = rows.map((row) => row.map((x) => Math.exp(x)));
  return names.map((_, k) =>
    scores.reduce((p, row) => p + row[k]! / row.reduce((a, b) => a + b, 0) / views, 0),
  );
}

test('classes come ranked with the probabilities of the one view', async () => {
  const result = await model.classify(clips[0]!, names);
  const expected = await probabilities(clips[0]!, 1, 1);
  expectClose(
    'probabilities',
    names.map((name) => result.find(({ label }) => label === name)!.probability),
    expected,
    1e-5,
  );
  const ranked = result.map(({ probability }) => probability);
  expect(ranked).toEqual([...ranked].sort((a, b) => b - a));
  expect(ranked.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
});

test('views are averaged, and several clips give a list each', async () => {
  const results = await model.classify(clips, names, { clips: 2, crops: 3, topK: 1 });
  expect(results.map((list) => list.length)).toEqual([1, 1]);
  for (const [i, [best]] of results.entries()) {
    const expected = await probabilities(clips[i]!, 2, 3);
    expect(best!.label).toBe(names[expected.indexOf(Math.max(...expected))]);
    expect(best!.probability).toBeCloseTo(Math.max(...expected), 5);
  }
});

test('a path, its bytes, a part of a file, an open file, a reader and pictures say the same', async () => {
  const path = clips[1]!;
  const expected = await model.classify(path, names, { clips: 2 });
  const bytes = readFileSync(path);
  const archive = join(folder, 'archive');
  writeFileSync(archive, Buffer.concat([Buffer.alloc(100), bytes, Buffer.alloc(100)]));
  const handle = await open(path);
  using reader = await VideoReader.open(path);
  const frames = await reader.getBatch(Array.from({ length: reader.length }, (_, i) => i));
  const { width, height } = reader;
  const all: Footage[] = [
    bytes,
    { path: archive, offset: 100, length: bytes.length },
    handle,
    reader,
    { frames, width, height },
  ];
  expect(await model.classify(all, names, { clips: 2 })).toEqual(all.map(() => expected));
  await handle.close();
  const several = { frames: [frames, frames], width, height };
  await expect(model.classify(several as never, names)).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: 'classify: video.frames must be the bytes of all pictures in one Uint8Array, got an array',
  });
  expect(await reader.get(0)).toHaveLength(width * height * 3); // it stays open
  expect(await model.embedVideo(bytes)).toEqual(await model.embedVideo(path));
});

test('a part of a video is judged by its frames alone', async () => {
  using reader = await VideoReader.open(clips[0]!); // 30 frames, 12 a second
  const { width, height } = reader;
  const part = async (first: number, end: number) => ({
    frames: await reader.getBatch(Array.from({ length: end - first }, (_, i) => first + i)),
    width,
    height,
  });
  for (const [seconds, first, end] of [
    [[0.5, 1], 6, 12],
    [[0.51, 1.01], 6, 13], // the frame that is shown at 0.51 came before
    [[-1, 0.01], 0, 1],
    [[2, 100], 24, 30],
  ] as const) {
    const expected = await model.classify(await part(first, end), names);
    expect(await model.classify(clips[0]!, names, { seconds })).toEqual(expected);
  }
  const parts: TimelineEntry[] = [];
  for await (const entry of model.timeline(reader, names, { window: 1, stride: 0.75 })) parts.push(entry);
  expect(parts.map(({ from, to }) => [from, to])).toEqual([
    [0, 1],
    [0.75, 1.75],
    [1.5, 2.5],
    [2.25, 2.5],
  ]);
  expect(parts[1]!.classes).toEqual(await model.classify(reader, names, { seconds: [0.75, 1.75] }));
  // Windows that end with the video, or would but for rounding (3 x 0.7 is less than 2.1), are the last.
  for (const [window, seconds, begins] of [
    [1.25, undefined, [0, 1.25]],
    [0.7, [0, 2.1], [0, 0.7, 1.4]],
  ] as const) {
    const found: number[] = [];
    for await (const { from } of model.timeline(reader, names, { window, seconds })) found.push(from);
    expect(found).toEqual(begins);
  }
  expect(await reader.get(0)).toHaveLength(width * height * 3);
});

test('each of many videos is told as soon as it is known, in order, with the fault of one in its place', async () => {
  const bad = join(folder, 'none.mp4');
  const videos = [clips[0]!, bad, readFileSync(clips[1]!), __filename, clips[1]!, clips[0]!];
  const [a, b] = await model.classify(clips, names, { clips: 2, topK: 2 });
  const told: VideoClasses[] = [];
  for await (const one of model.classifyEach(videos, names, { clips: 2, topK: 2 })) told.push(one);
  expect(told.map(({ video }) => video)).toEqual(videos);
  expect(told.map(({ classes }) => classes)).toEqual([a, undefined, b, undefined, b, a]);
  expect(told.map(({ error }) => error?.code)).toEqual([
    undefined,
    'ERR_FILE_NOT_FOUND',
    undefined,
    'ERR_VIDEO_FORMAT',
    undefined,
    undefined,
  ]);
  expect(told[1]!.error!.message).toContain(bad);
  await expect(model.classify([clips[0]!, bad, __filename], names)).rejects.toMatchObject({
    code: 'ERR_FILE_NOT_FOUND',
  });
  expect(videoAddon().counters().openVideos).toBe(0);
});

test('a loop over videos that is left or aborted leaves nothing open', async () => {
  await model.classify(clips, names);
  const before = memory().liveTensors;
  const many = Array.from({ length: 20 }, (_, i) => clips[i % 2]!);
  for await (const { video } of model.classifyEach(many, names)) {
    expect(video).toBe(many[0]);
    break;
  }
  expect(videoAddon().counters().openVideos).toBe(0);
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const loop = async () => {
    for await (const _ of model.classifyEach(many, names, { signal })) if (++count === 2) controller.abort();
  };
  await expect(loop()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  expect(count).toBe(2);
  expect(videoAddon().counters().openVideos).toBe(0);
  expect(memory().liveTensors).toBe(before);
});

test('the timeline of pictures as they come is that of the file they are from', async () => {
  using reader = await VideoReader.open(clips[0]!);
  const { width, height, fps } = reader.info;
  const bytes = await reader.getBatch(Array.from({ length: reader.length }, (_, i) => i));
  const stream = () => Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]);
  const options = { window: 1, stride: 0.75, clips: 2, crops: 3 } as const;
  const entries = async (video: Footage | LivePictures) => {
    const found: TimelineEntry[] = [];
    for await (const entry of model.timeline(video, names, options)) found.push(entry);
    return found;
  };
  expect(await entries({ stream: stream(), width, height, fps })).toEqual(await entries(clips[0]!));

  const left = stream();
  for await (const _ of model.timeline({ stream: left, width, height, fps }, names, options)) break;
  expect(left.destroyed).toBe(true);

  // What has come is told before what is wrong with the rest.
  const broken = Readable.from([bytes.subarray(0, 20 * width * height * 3), Error('unplugged')]).map(
    (piece) => {
      if (piece instanceof Error) throw piece;
      return piece;
    },
  );
  const parts = model.timeline({ stream: broken, width, height, fps }, names, options);
  expect(await parts.next()).toMatchObject({ value: { from: 0, to: 1 } });
  await expect(parts.next()).rejects.toThrow('unplugged');

  for (const [video, given] of [
    [{ stream: stream(), width, height: 0, fps }, options],
    [{ stream: stream(), width, height, fps: 0 }, options],
    [{ stream: 7, width, height, fps }, options],
    [
      { stream: stream(), width, height, fps },
      { ...options, seconds: [0, 1] },
    ],
  ] as [LivePictures, typeof options][]) {
    await expect(model.timeline(video, names, given).next()).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  }
});

test('a timeline that is left releases the video', async () => {
  for await (const { from } of model.timeline(clips[0]!, names, { window: 0.5, seconds: [1, 2] })) {
    expect(from).toBe(1);
    break;
  }
  expect(videoAddon().counters().openVideos).toBe(0);
});

test('frames are loaded as the model looks at them, on its device', async () => {
  const frames = await model.loadFrames(clips[0]!, { clips: 2, crops: 3 });
  expect([...frames.shape]).toEqual([6, 4, 3, 32, 32]);
  expect(frames.device).toBe(model.logit_scale.device);
  const rows = (await noGrad(() => model.forward(frames, tokenize(names))).toArray()) as number[][];
  const shares = rows.map((row) => Math.exp(row[0]!) / row.reduce((sum, x) => sum + Math.exp(x), 0));
  const ranked = await model.classify(clips[0]!, names, { clips: 2, crops: 3 });
  const first = ranked.find(({ label }) => label === names[0])!;
  expect(shares.reduce((a, b) => a + b, 0) / 6).toBeCloseTo(first.probability, 5);
  frames.dispose();
  await expect(model.loadFrames(__filename)).rejects.toMatchObject({ code: 'ERR_VIDEO_FORMAT' });
});

test('features have unit length; those of a text are its own', async () => {
  const video = await model.embedVideo(clips[0]!, { clips: 2 });
  const texts = await model.embedText(names);
  expect(video).toHaveLength(64);
  expect(texts).toHaveLength(3);
  for (const feature of [video, ...texts]) expect(Math.hypot(...feature)).toBeCloseTo(1, 5);
  const [alone] = await model.embedText([names[1]!]);
  expectClose('alone', alone!, texts[1]!, 1e-6);
});

test('what is asked wrongly is refused with a code', async () => {
  const clip = clips[0]!;
  const code = (expected: string) => expect.objectContaining({ code: expected });
  await expect(model.classify(clip, [])).rejects.toEqual(code('ERR_LABELS'));
  await expect(model.classify(clip, ['word '.repeat(100)])).rejects.toEqual(code('ERR_TEXT_TOO_LONG'));
  await expect(model.classify(join(folder, 'none.mp4'), names)).rejects.toEqual(code('ERR_FILE_NOT_FOUND'));
  await expect(model.classify(__filename, names)).rejects.toEqual(code('ERR_VIDEO_FORMAT'));
  await expect(model.classify(clip, names, { topK: 0 })).rejects.toEqual(code('ERR_ARGUMENT'));
  await expect(model.classify(clip, ['dancing', ...names, 'dancing'])).rejects.toEqual(code('ERR_LABELS'));
  await expect(model.classify(clip, names, { clips: 0 })).rejects.toEqual(code('ERR_ARGUMENT'));
  const seconds = (from: number, to: number) => model.classify(clip, names, { seconds: [from, to] });
  await expect(seconds(1, 1)).rejects.toEqual(code('ERR_ARGUMENT'));
  await expect(seconds(Number.NaN, 1)).rejects.toEqual(code('ERR_ARGUMENT'));
  await expect(seconds(2.5, 3)).rejects.toEqual(code('ERR_FRAME_RANGE'));
  await expect(seconds(-1, 0)).rejects.toEqual(code('ERR_FRAME_RANGE'));
  const pictures = (bytes: number) => ({ frames: new Uint8Array(bytes), width: 64, height: 48 });
  for (const wrong of [{ width: 0 }, { height: undefined }, { frames: new Float32Array(12) }]) {
    const video = { ...pictures(64 * 48 * 3), ...wrong } as unknown as Footage;
    await expect(model.classify(video, names)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message: expect.stringContaining(`classify: video.${Object.keys(wrong)[0]} must be `),
    });
  }
  await expect(model.classify(pictures(0), names)).rejects.toEqual(code('ERR_SHAPE'));
  await expect(model.classify(pictures(64 * 48 * 3 + 1), names)).rejects.toEqual(code('ERR_SHAPE'));
  await expect(model.classify(pictures(64 * 48 * 3), names, { seconds: [0, 1] })).rejects.toEqual(
    code('ERR_ARGUMENT'),
  );
  await expect(model.classify(undefined as unknown as string, names)).rejects.toEqual(code('ERR_ARGUMENT'));
  await expect(model.classify(clip, [])).rejects.toMatchObject({
    code: 'ERR_LABELS',
    message: 'classify: names is empty; give at least one',
  });
  await expect(model.timeline(clip, names, { window: '2' as never }).next()).rejects.toMatchObject({
    message: 'timeline: window must be a number of seconds above 0, got "2"',
  });
  for (const options of [{ window: 0 }, { window: 1, stride: Number.NaN }]) {
    await expect(model.timeline(clip, names, options).next()).rejects.toEqual(code('ERR_ARGUMENT'));
  }
  for (const videos of [clip, [clip, 3]] as unknown as string[][]) {
    await expect(model.classifyEach(videos, names).next()).rejects.toEqual(code('ERR_ARGUMENT'));
  }
  await expect(model.classify(clip, names, { signal: 5 as never })).rejects.toEqual(code('ERR_ARGUMENT'));
  const reason = new Error('the client has gone');
  const signal = AbortSignal.abort(reason);
  const aborted = expect.objectContaining({ code: 'ERR_ABORTED', cause: reason });
  await expect(model.classify(clip, names, { signal })).rejects.toEqual(aborted);
  await expect(model.embedVideo(pictures(64 * 48 * 3), { signal })).rejects.toEqual(aborted);
  await expect(model.timeline(clip, names, { window: 1, signal }).next()).rejects.toEqual(aborted);
});

test('a small vocabulary that lacks a word says which text', async () => {
  const small = new XCLIP({ ...geometry, vocabSize: 600 }, { device: 'auto' });
  await expect(small.embedText(['zumba'])).rejects.toMatchObject({
    code: 'ERR_INDEX_RANGE',
    message: expect.stringContaining('"zumba"'),
  });
  small.dispose();
});

test('nothing is left behind, also after an abort between views', async () => {
  await model.classify(clips[0]!, names);
  const before = memory().liveTensors;
  await model.classify(clips, names, { clips: 2 });
  await model.embedVideo(clips[0]!);
  // Features of texts are kept until others are asked for.
  for (const others of [['jumping', 'running'], names]) await model.classify(clips[0]!, others);
  const controller = new AbortController();
  const aborted = model.classify(clips[0]!, names, { clips: 4, crops: 3, signal: controller.signal });
  setTimeout(() => controller.abort(), 5);
  await aborted.catch((error) => expect(error.code).toBe('ERR_ABORTED'));
  expect(memory().liveTensors).toBe(before);
  expect(videoAddon().counters().openVideos).toBe(0);
});
