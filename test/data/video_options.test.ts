import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { VideoReader } from '../../lib/data/video_reader';
import { type VideoOptions, videoAddon } from '../../lib/native/video';
import { fixturePath, readFixture } from '../support/fixture';
import { numbersIn, sha256, temporaryFolder } from '../support/video';

const path = (name: string) => fixturePath(`video/${name}`);
const clip = path('h264_b_frames.mp4'); // 68 x 48, 40 frames
const everything = (video: VideoReader) => Array.from({ length: video.length }, (_, i) => i);

describe('sizes', () => {
  const folder = temporaryFolder();
  const scaled =
    readFixture<{ name: string; width: number; height: number; sha256: string }[]>('video/scaled.json');

  test.each(scaled)('$name at $width x $height is what ffmpeg gives, byte for byte', async (expected) => {
    const { name, width, height } = expected;
    using video = await VideoReader.open(path(name), { width, height });
    expect([video.width, video.height]).toEqual([width, height]);
    expect(sha256(await video.getBatch(everything(video)))).toBe(expected.sha256);
  });

  test.each([
    [{ width: 34 }, [34, 24]],
    [{ height: 12 }, [17, 12]],
    [{ height: 6 }, [9, 6]], // 8.5
    [{ shortSide: 24 }, [34, 24]],
    [{ shortSide: 32 }, [45, 32]], // 45.33
    [{ shortSide: 96 }, [136, 96]],
    [{ width: 1 }, [1, 1]],
  ] as [VideoOptions, [number, number]][])('%j keeps the proportions', async (options, size) => {
    using video = await VideoReader.open(clip, options);
    expect([video.width, video.height]).toEqual(size);
    expect(await video.get(3)).toHaveLength(size[0] * size[1] * 3);
  });

  test('a side has a pixel at least', async () => {
    const wide = join(folder, 'wide.mp4');
    await videoAddon().encodeVideo(wide, { width: 64, height: 2, fps: 25 }, new Uint8Array(64 * 2 * 3));
    using video = await VideoReader.open(wide, { width: 3 });
    expect([video.width, video.height]).toEqual([3, 1]);
  });

  test('sides are those of the upright picture', async () => {
    using video = await VideoReader.open(path('h264_rotated.mp4'), { width: 24 });
    expect([video.width, video.height]).toEqual([24, 34]);
  });

  test('plans work on the scaled picture', async () => {
    using video = await VideoReader.open(clip, { width: 34, height: 24 });
    const out = new Uint8Array(34 * 24 * 3);
    const whole = { resize: null, crops: [[0, 0, 34, 24]] as [number, number, number, number][] };
    const rest = { flip: false, jitter: null, gray: false };
    const scale = {
      mean: [0, 0, 0] as [number, number, number],
      std: [1, 1, 1] as [number, number, number],
    };
    await video.runPlan({ frames: [7], ...whole, size: [34, 24], ...rest, ...scale }, out);
    expect(out).toEqual(await video.get(7));
  });

  test.each([
    [{ shortSide: 20, width: 20 }, 'ERR_ARGUMENT'],
    [{ width: 0 }, 'ERR_ARGUMENT'],
    [{ height: 1.5 }, 'ERR_ARGUMENT'],
    [{ shortSide: 40000 }, 'ERR_ARGUMENT'],
    [{ width: 30000, maxPixels: 1 << 20 }, 'ERR_VIDEO_LIMIT'],
    [{ onError: 'ignore' as never }, 'ERR_ARGUMENT'],
    [null as never, 'ERR_ARGUMENT'],
    ['fast' as never, 'ERR_ARGUMENT'],
    [{ shortside: 20 } as never, 'ERR_ARGUMENT'],
    [{ signal: 5 } as never, 'ERR_ARGUMENT'],
  ] as [VideoOptions, string][])('%j is refused', async (options, code) => {
    await expect(VideoReader.open(clip, options)).rejects.toMatchObject({ code });
  });
});

test('what is asked for by no name there is, or of no type there is, is refused and said', async () => {
  using video = await VideoReader.open(clip);
  const refused = (message: RegExp) => ({ code: 'ERR_ARGUMENT', message: expect.stringMatching(message) });
  await expect(VideoReader.open(clip, { shortside: 20 } as never)).rejects.toMatchObject(
    refused(/^VideoReader.open: there is no option "shortside"; did you mean shortSide\?$/),
  );
  await expect(video.getBatch([0], { into: 3 } as never)).rejects.toMatchObject(
    refused(/^getBatch: there is no option "into"; there are deadlineMs, signal, out$/),
  );
  await expect(video.get(0, null as never)).rejects.toMatchObject(
    refused(/^getBatch: options must be an object, got null$/),
  );
  await expect(video.get(0, { signal: 'x' as never })).rejects.toMatchObject(
    refused(/^getBatch: signal must be an AbortSignal/),
  );
  for (const deadlineMs of [{}, [5], '5', null, 0]) {
    await expect(video.get(0, { deadlineMs } as never)).rejects.toMatchObject(
      refused(/^deadlineMs must be an integer in 1\.\.2147483648, got /),
    );
  }
  for (const indices of [undefined, null, 5, '12']) {
    await expect(video.getBatch(indices as never)).rejects.toMatchObject(
      refused(/^indices must be an array/),
    );
  }
  for (const seconds of ['1', null, undefined]) {
    expect(() => video.indexAt(seconds as never)).toThrow(
      expect.objectContaining(refused(/^seconds must be/)),
    );
  }
  for (const [source, kind] of [
    [new URL('file:///x.mp4'), 'an object \\(URL\\)'],
    [{}, 'an object \\(Object\\)'],
    [5, '5'],
    [null, 'null'],
  ] as const) {
    await expect(VideoReader.open(source as never)).rejects.toMatchObject(
      refused(new RegExp(`^a video is opened by its path, its bytes .*; got ${kind}$`)),
    );
  }
});

test('a stream, which has the path and later the descriptor of a file, is refused with what to do', async () => {
  const stream = createReadStream(clip);
  await expect(VideoReader.open(stream as never)).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: expect.stringMatching(/^a video is read back and forth, .*: await buffer\(stream\)/),
  });
  using video = await VideoReader.open(await buffer(stream));
  expect(video.length).toBe(40);
});

describe('an open file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'video-handle-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('is read whatever its position, left open, and may be closed at once', async () => {
    const handle = await open(clip);
    await handle.read(Buffer.alloc(100), 0, 100);
    using video = await VideoReader.open(handle);
    expect((await handle.read(Buffer.alloc(4), 0, 4)).buffer).toEqual(readFileSync(clip).subarray(100, 104));
    const opening = VideoReader.open(handle);
    await handle.close();
    using second = await opening;
    for (const reader of [video, second])
      expect(numbersIn(await reader.getBatch([39, 5]), 68, 48)).toEqual([39, 5]);
    await expect(VideoReader.open(handle)).rejects.toMatchObject({ code: 'ERR_FILE_READ' });
  });

  test('and a byte range of it', async () => {
    const archive = join(folder, 'archive.bin');
    const bytes = readFileSync(clip);
    writeFileSync(archive, Buffer.concat([Buffer.alloc(99, 1), bytes, Buffer.alloc(99, 2)]));
    const handle = await open(archive);
    using video = await VideoReader.open({ fd: handle.fd, offset: 99, length: bytes.length });
    await handle.close();
    expect(numbersIn(await video.get(17), 68, 48)).toEqual([17]);
  });

  test('must be a regular file', async () => {
    const device = await open('/dev/zero');
    await expect(VideoReader.open(device)).rejects.toMatchObject({ code: 'ERR_FILE_READ' });
    await device.close();
    await expect(VideoReader.open({ fd: 99999 })).rejects.toMatchObject({ code: 'ERR_FILE_READ' });
    await expect(VideoReader.open({ fd: 0.5 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });
});

describe('damaged frames', () => {
  /** The Motion JPEG clip with the frames `damaged` filled with zeros behind their first bytes. */
  function clipWithout(damaged: number[]): Uint8Array {
    const bytes = Buffer.from(readFileSync(path('mjpeg.mov')));
    const starts: number[] = [];
    for (let at = bytes.indexOf('ffd8ff', 0, 'hex'); at >= 0; at = bytes.indexOf('ffd8ff', at + 3, 'hex')) {
      starts.push(at);
    }
    expect(starts).toHaveLength(40);
    for (const frame of damaged) bytes.fill(0, starts[frame]! + 2, starts[frame]! + 300);
    return Uint8Array.from(bytes);
  }

  test('fail the call by default', async () => {
    using video = await VideoReader.open(clipWithout([7]));
    await expect(video.getBatch([3, 7])).rejects.toMatchObject({ code: 'ERR_VIDEO_DECODE' });
    expect(numbersIn(await video.getBatch([6, 8]), 68, 48)).toEqual([6, 8]);
  });

  test('are left out under skip, and counted', async () => {
    using video = await VideoReader.open(clipWithout([7, 8, 20]), { onError: 'skip' });
    const frames = await video.getBatch([8, 30, 7, 2, 20, 8]);
    expect(numbersIn(frames, 68, 48)).toEqual([30, 2]);
    expect([...video.damage.frames].sort((a, b) => a - b)).toEqual([7, 8, 20]);
    expect(video.damage).toMatchObject({ skipped: 4, replaced: 0 });
    expect(await video.getBatch([7])).toHaveLength(0);
    await expect(video.get(7)).rejects.toMatchObject({ code: 'ERR_VIDEO_DECODE' });
    const numbers: number[] = [];
    for await (const frame of video) numbers.push(...numbersIn(frame, 68, 48));
    expect(numbers).toEqual(everything(video).filter((i) => ![7, 8, 20].includes(i)));
  });

  test('give way to the nearest sound frame, of two the earlier, and are counted', async () => {
    using video = await VideoReader.open(clipWithout([0, 7, 10, 11, 12, 38, 39]), { onError: 'nearest' });
    const frames = await video.getBatch([39, 11, 7, 12, 0, 10, 20]);
    expect(numbersIn(frames, 68, 48)).toEqual([37, 9, 6, 13, 1, 9, 20]);
    expect(video.damage).toMatchObject({ skipped: 0, replaced: 6 });
    expect(video.damage.frames.size).toBe(6);
    expect(numbersIn(await video.get(38), 68, 48)).toEqual([37]);
    expect(video.damage.replaced).toBe(7);
  });

  test('in plans', async () => {
    const plan = { frames: [6, 7], resize: null, size: [68, 48] as [number, number], flip: false };
    const crops: [number, number, number, number][] = [[0, 0, 68, 48]];
    const rest = {
      crops,
      jitter: null,
      gray: false,
      mean: [0, 0, 0] as [number, number, number],
      std: [1, 1, 1] as [number, number, number],
    };
    const out = new Uint8Array(2 * 68 * 48 * 3);
    using nearest = await VideoReader.open(clipWithout([7]), { onError: 'nearest' });
    await nearest.runPlan({ ...plan, ...rest }, out);
    expect(numbersIn(out, 68, 48)).toEqual([6, 6]);
    expect(nearest.damage).toMatchObject({ replaced: 1 });
    using skip = await VideoReader.open(clipWithout([7]), { onError: 'skip' });
    await expect(skip.runPlan({ ...plan, ...rest }, out)).rejects.toMatchObject({ code: 'ERR_VIDEO_DECODE' });
  });

  test('and nothing but them', async () => {
    const all = Array.from({ length: 40 }, (_, i) => i);
    using nearest = await VideoReader.open(clipWithout(all), { onError: 'nearest' });
    await expect(nearest.get(5)).rejects.toMatchObject({
      code: 'ERR_VIDEO_DECODE',
      message: expect.stringContaining('none of its 40 frames'),
    });
    using skip = await VideoReader.open(clipWithout(all), { onError: 'skip' });
    expect(await skip.getBatch(all)).toHaveLength(0);
  });
});

describe('iteration', () => {
  test('starts anew each time, leaves out what skip says, and stops where the loop does', async () => {
    using video = await VideoReader.open(clip);
    const numbers: number[] = [];
    for await (const frame of video) {
      numbers.push(...numbersIn(frame, 68, 48));
      if (numbers.length === 3) break;
    }
    for await (const frame of video) {
      numbers.push(...numbersIn(frame, 68, 48));
      video.skip(9);
    }
    expect(numbers).toEqual([0, 1, 2, 0, 10, 20, 30]);
    for (const count of [-1, 0.5])
      expect(() => video.skip(count)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });

  test('ends with an error when the video is closed in it', async () => {
    const video = await VideoReader.open(clip);
    const iterate = async () => {
      for await (const _ of video) video.close();
    };
    await expect(iterate()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  test('nothing runs ahead but one frame while the loop sleeps', async () => {
    using video = await VideoReader.open(clip);
    const read = jest.spyOn(videoAddon(), 'readFrames');
    for await (const _ of video) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      break;
    }
    expect(read).toHaveBeenCalledTimes(2);
    read.mockRestore();
  });
});

test('frames can be written to memory of the caller', async () => {
  using video = await VideoReader.open(clip);
  const size = 68 * 48 * 3;
  const memory = new Uint8Array(5 * size).fill(7);
  const frames = await video.getBatch([30, 2], { out: memory.subarray(size, 3 * size) });
  expect(frames.buffer).toBe(memory.buffer);
  expect(numbersIn(memory.subarray(size, 3 * size), 68, 48)).toEqual([30, 2]);
  expect(memory.subarray(0, size).every((byte) => byte === 7)).toBe(true);
  expect(memory.subarray(3 * size).every((byte) => byte === 7)).toBe(true);
  await expect(video.getBatch([1], { out: memory })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
});

test('facts of the video', async () => {
  using video = await VideoReader.open(clip);
  expect([video.codec, video.rotation, video.fps, video.length]).toEqual(['h264', 0, 25, 40]);
  expect(Array.from(video.keyFrames)).toEqual([0, 12, 24, 36]);
  expect(video.timestamps[39]).toBeCloseTo(1.56, 9);
});
