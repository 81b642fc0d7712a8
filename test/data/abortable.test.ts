import { getEventListeners } from 'node:events';
import { FrameLoader as VideoLoader } from '../../lib/data/frame_loader';
import { VideoReader } from '../../lib/data/video_reader';
import { fixturePath } from '../support/fixture';

const clip = fixturePath('video/h264_b_frames.mp4');

test('one signal may stop any number of calls, without a warning of a leak', async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on('warning', listen);
  try {
    const abort = new AbortController();
    const { signal } = abort;
    using video = await VideoReader.open(clip);
    const read = () => Array.from({ length: 30 }, (_, i) => video.get(i % video.length, { signal }));
    expect(await Promise.all(read())).toHaveLength(30);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    const stopped = Promise.allSettled(read());
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    abort.abort();
    const reasons = (await stopped).map((result) => result.status === 'rejected' && result.reason.code);
    const begun = reasons.indexOf('ERR_ABORTED'); // those before it were done already
    expect(begun).toBeLessThan(10);
    expect(reasons.slice(begun)).toEqual(new Array(30 - begun).fill('ERR_ABORTED'));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await expect(video.get(0, { signal })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(warnings).toEqual([]);
  } finally {
    process.off('warning', listen);
  }
});

test('an error says why the caller has stopped the call, whether it had begun or not', async () => {
  const reason = new Error('the client has gone');
  const stopped = { code: 'ERR_ABORTED', cause: reason };
  using video = await VideoReader.open(clip);
  const early = AbortSignal.abort(reason);
  await expect(VideoReader.open(clip, { signal: early })).rejects.toMatchObject(stopped);
  const abort = new AbortController();
  const { signal } = abort;
  const reads = Array.from({ length: 30 }, () => video.get(0, { signal }));
  const loader = await VideoLoader.open([clip], { batchSize: 2, width: 32, height: 32, signal });
  const loop = (async () => {
    for await (const _ of loader) abort.abort(reason);
  })();
  await expect(loop).rejects.toMatchObject(stopped);
  const last = (await Promise.allSettled(reads)).at(-1)!;
  if (last.status === 'rejected') expect(last.reason).toMatchObject(stopped);
  await expect(video.get(0, { signal })).rejects.toMatchObject(stopped);
});

test('loops over videos leave nothing on the signal that they were given', async () => {
  const { signal } = new AbortController();
  const loader = await VideoLoader.open([clip, clip], { batchSize: 2, width: 32, height: 32, signal });
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  const loops = Array.from({ length: 12 }, async (_, i) => {
    let left = i % 3;
    for await (const { frames } of loader.epoch(0)) if (frames.length === 0 || left-- === 0) break;
  });
  expect(getEventListeners(signal, 'abort')).toHaveLength(1);
  await Promise.all(loops);
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});
