import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VideoReader } from '../../lib/data/video_reader';
import { VideoWriter } from '../../lib/data/video_writer';
import { type EncodeOptions, type EncoderHandle, videoAddon } from '../../lib/native/video';
import { numberedFrames, numbersIn, temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const options: EncodeOptions = { width: 64, height: 48, fps: 25, gop: 10, bFrames: 2 };
const picture = 64 * 48 * 3;
const frames = numberedFrames(23);

test('frames written in pieces give the bytes of one call, and are read back in order', async () => {
  const whole = join(folder, 'whole.mp4');
  await videoAddon().encodeVideo(whole, options, frames);
  for (const length of [1, 7, 23]) {
    const path = join(folder, `pieces_of_${length}.mp4`);
    using video = await VideoWriter.open(path, options);
    for (let first = 0; first < 23; first += length) {
      const piece = frames.slice(first * picture, (first + length) * picture);
      await video.write(piece);
      piece.fill(0); // it is not needed any more
    }
    expect(await video.finish()).toEqual({ codec: expect.any(String), frameCount: 23 });
    expect(readFileSync(path).equals(readFileSync(whole))).toBe(true);
  }
  using video = await VideoReader.open(join(folder, 'pieces_of_7.mp4'));
  const numbers = Array.from({ length: 23 }, (_, i) => i);
  expect(numbersIn(await video.getBatch(numbers), 64, 48)).toEqual(numbers);
});

describe('a file that is not finished is not there', () => {
  const place = join(folder, 'unfinished');
  const path = join(place, 'x.mp4');
  beforeAll(() => mkdirSync(place));
  afterEach(() => expect(readdirSync(place)).toEqual([]));

  test('closed; closed twice; and used after that', async () => {
    const video = await VideoWriter.open(path, options);
    await video.write(frames);
    expect(readdirSync(place)).toHaveLength(1); // under another name
    video.close();
    video.close();
    await expect(video.write(frames)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    await expect(video.finish()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  test('closed in the middle of a call', async () => {
    const video = await VideoWriter.open(path, options);
    const call = video.write(numberedFrames(3000));
    const stopped = expect(call).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    video.close();
    await stopped;
  });

  test('closed in the middle of a call that has nothing left to stop', async () => {
    const large = { ...options, width: 2048, height: 2048 };
    const video = await VideoWriter.open(path, large);
    const call = video.write(new Uint8Array(2048 * 2048 * 3)); // a single picture
    await new Promise((resolve) => setTimeout(resolve, 10));
    video.close();
    await call.catch((error) => expect(error).toMatchObject({ code: 'ERR_DISPOSED' }));
  });

  test('aborted', async () => {
    using video = await VideoWriter.open(path, options);
    await video.write(frames);
    const controller = new AbortController();
    const call = video.write(numberedFrames(3000), { signal: controller.signal });
    const stopped = expect(call).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    controller.abort();
    await stopped;
    await expect(video.finish()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  test('without frames; with parts of one; in a folder that is not there', async () => {
    using video = await VideoWriter.open(path, options);
    const refused = { code: 'ERR_ARGUMENT' };
    await expect(video.write(frames.subarray(0, 100))).rejects.toMatchObject(refused);
    await expect(video.write(new Uint8Array(0))).rejects.toMatchObject(refused);
    await expect(video.finish()).rejects.toMatchObject(refused);
    const nowhere = VideoWriter.open(join(place, 'none', 'x.mp4'), options);
    await expect(nowhere).rejects.toMatchObject({ code: 'ERR_FILE_WRITE' });
    await expect(VideoWriter.open(path, { ...options, width: 63 })).rejects.toMatchObject(refused);
  });
});

test('a call that is not awaited is refused, and the one before goes on', async () => {
  using video = await VideoWriter.open(join(folder, 'awaited.mp4'), options);
  const first = video.write(frames);
  await expect(video.write(frames)).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: expect.stringContaining('await'),
  });
  await first;
  expect((await video.finish()).frameCount).toBe(23);
  await expect(video.finish()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
});

test.each([undefined, {}, 5])('%p is no encoder', async (value) => {
  const addon = videoAddon();
  const handle = value as unknown as EncoderHandle;
  const refused = expect.objectContaining({ code: 'ERR_ARGUMENT' });
  await expect(addon.writeFrames(handle, frames)).rejects.toEqual(refused);
  await expect(addon.finishEncoder(handle)).rejects.toEqual(refused);
  expect(() => addon.closeEncoder(handle)).toThrow(refused);
});
