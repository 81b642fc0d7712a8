import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { VideoReader } from '../../lib/data/video_reader';
import { videoAddon } from '../../lib/native/video';
import { fixturePath, readFixture } from '../support/fixture';
import { numberedFrames, numbersIn, sha256, temporaryFolder } from '../support/video';

interface Clip {
  width: number;
  height: number;
  frameCount: number;
  firstNumber: number | null;
  sha256: string;
}
const clips = readFixture<Record<string, Clip>>('video/clips.json');
const path = (name: string) => fixturePath(`video/${name}`);
const folder = temporaryFolder();

async function allFrames(video: VideoReader): Promise<Uint8Array> {
  return video.getBatch(Array.from({ length: video.length }, (_, i) => i));
}

describe.each(Object.entries(clips))('%s', (name, expected) => {
  const stream = name === 'two_streams.mp4' ? 0 : undefined;

  test('gives the frames that ffmpeg gives, byte for byte', async () => {
    using video = await VideoReader.open(path(name), { stream });
    expect([video.width, video.height, video.length]).toEqual([
      expected.width,
      expected.height,
      expected.frameCount,
    ]);
    const frames = await allFrames(video);
    expect(sha256(frames)).toBe(expected.sha256);
    if (expected.firstNumber !== null) {
      const numbers = Array.from({ length: video.length }, (_, i) => i + expected.firstNumber!);
      expect(numbersIn(frames, video.width, video.height)).toEqual(numbers);
    }
  });

  test('gives the same frames in any order', async () => {
    using ordered = await VideoReader.open(path(name), { stream });
    const frames = await allFrames(ordered);
    const size = expected.width * expected.height * 3;
    using video = await VideoReader.open(path(name), { stream });
    const random = new Philox(7, name.length);
    for (let round = 0; round < 25; round++) {
      const indices = Array.from({ length: 1 + random.integer(4) }, () => random.integer(video.length));
      const batch = await video.getBatch(indices);
      indices.forEach((index, slot) => {
        const same = Buffer.compare(
          frames.subarray(index * size, (index + 1) * size),
          batch.subarray(slot * size, (slot + 1) * size),
        );
        expect({ index, same }).toEqual({ index, same: 0 });
      });
    }
  });
});

// FFmpeg 7.1's HEVC decoder has the last two frames ready at once, and still gives the second after a flush.
test('a picture that nobody fetched is not taken for one of what is read next', async () => {
  using video = await VideoReader.open(path('hevc_open_gop.mp4'));
  await video.get(38);
  expect(numbersIn(await video.get(3), video.width, video.height)).toEqual([3]);
});

test('facts of a video', async () => {
  using video = await VideoReader.open(path('h264_b_frames.mp4'));
  expect(video.info).toMatchObject({ codec: 'h264', rotation: 0, fps: 25 });
  expect(video.info.durationSeconds).toBeCloseTo(1.6, 6);
  expect(Array.from(video.info.keyFrames)).toEqual([0, 12, 24, 36]);
  expect(Array.from(video.info.timestamps.slice(0, 3))).toEqual([0, 0.04, 0.08]);
  using rotated = await VideoReader.open(path('h264_rotated.mp4'));
  expect(rotated.info.rotation % 180).toBe(90);
});

// Cameras that lie on a side write 90, 180 or 270 degrees; those that face their owner may mirror the picture as well.
test.each([
  [[1, 0, 0, 1], 0],
  [[0, 1, -1, 0], 90],
  [[-1, 0, 0, -1], 180],
  [[0, -1, 1, 0], 270],
  [[-1, 0, 0, 1], 180],
  [[1, 0, 0, -1], 0],
  [[0, 1, 1, 0], 90],
  [[0, -1, -1, 0], 270],
  [[0, 0, 0, -1], 0], // no angle
] as const)(
  'pictures with the display matrix %j are turned and mirrored as by ffmpeg',
  async (matrix, rotation) => {
    const bytes = readFileSync(path('h264_b_frames.mp4'));
    const place = bytes.indexOf('tkhd') + 44;
    for (const [i, at] of [0, 4, 12, 16].entries()) bytes.writeInt32BE(matrix[i]! * 2 ** 16, place + at);
    const turned = join(folder, 'turned.mp4');
    writeFileSync(turned, bytes);
    const output = ['-frames:v', '1', '-vf', 'format=rgb24', '-f', 'rawvideo', '-'];
    const expected = execFileSync('ffmpeg', ['-v', 'error', '-i', turned, ...output]);
    using video = await VideoReader.open(turned);
    const sideways = rotation % 180 !== 0;
    expect([video.rotation, video.width, video.height]).toEqual([
      rotation,
      ...(sideways ? [48, 68] : [68, 48]),
    ]);
    expect(Buffer.compare(await video.get(0), expected)).toBe(0);
  },
);

test('times of a variable frame rate', async () => {
  using video = await VideoReader.open(path('h264_variable_rate.mp4'));
  const expected = Array.from({ length: 40 }, (_, n) => 0.04 * n + 0.005 * ((n * n) % 7));
  video.info.timestamps.forEach((time, n) => {
    expect(time).toBeCloseTo(expected[n]!, 3);
  });
  expect(video.indexAt(expected[17]! + 0.002)).toBe(17);
  expect([video.indexAt(-1), video.indexAt(1e9)]).toEqual([0, 39]);
  expect(await video.frameAt(expected[5]! + 0.001)).toEqual(await video.get(5));
});

/** A file that ffmpeg makes. */
function made(name: string, ...words: string[]): string {
  execFileSync('ffmpeg', ['-y', '-v', 'error', ...words, join(folder, name)]);
  return join(folder, name);
}

test('frames are evenly apart where the container gives times to some of them only, or to none', async () => {
  const source = ['-i', path('h264_b_frames.mp4')];
  for (const [name, start] of [
    [path('h264_raw.h264'), 0],
    [path('mpeg4_b_frames.avi'), 0.04],
    [path('mpeg2_program.mpg'), 0.54],
    [made('without_times.avi', ...source, '-c', 'copy'), 0],
  ] as const) {
    using video = await VideoReader.open(name);
    const times = [...video.timestamps];
    const expected = times.map((_, frame) => expect.closeTo(start + 0.04 * frame, 6));
    expect({ name, times, fps: video.fps }).toEqual({ name, times: expected, fps: 25 });
  }
});

test('frames of the same time are told apart, and in their order', async () => {
  const source = ['-itsscale', '0.01', '-i', path('h264_b_frames.mp4')];
  using video = await VideoReader.open(made('thousands_a_second.mkv', ...source, '-c', 'copy'));
  expect(new Set(video.timestamps).size).toBeLessThan(40); // of milliseconds
  expect(numbersIn(await allFrames(video), 68, 48)).toEqual(Array.from({ length: 40 }, (_, i) => i));
});

test('pictures that refer to what was cut away are none', async () => {
  const source = ['-i', path('hevc_open_gop.mp4'), '-ss', '0.45'];
  using video = await VideoReader.open(made('cut.mkv', ...source, '-c', 'copy'));
  expect(numbersIn(await allFrames(video), 68, 48)).toEqual(Array.from({ length: 20 }, (_, i) => i + 20));
});

/** Each frame read alone, the last one first, and by a reader that has read no other. */
async function oneByOne(file: string): Promise<Uint8Array[][]> {
  using backwards = await VideoReader.open(file);
  const frames: Uint8Array[][] = [];
  for (let i = backwards.length - 1; i >= 0; i--) {
    using fresh = await VideoReader.open(file);
    frames.unshift([await backwards.get(i), await fresh.get(i)]);
  }
  return frames;
}

// An MP4 that lists no key frames says that all are.
test.each(['mpeg4_b_frames.mp4', 'hevc_open_gop.mp4', 'h264_b_frames.mp4'])(
  'where %s calls every packet a key frame, decoding begins at one that is',
  async (name) => {
    const bytes = Buffer.from(readFileSync(path(name)));
    bytes.write('free', bytes.indexOf('stss'));
    const file = join(folder, `all_keys_${name}`);
    writeFileSync(file, bytes);
    using sound = await VideoReader.open(path(name));
    const frames = await allFrames(sound);
    const size = sound.width * sound.height * 3;
    for (const [i, read] of (await oneByOne(file)).entries()) {
      for (const frame of read) {
        const same = Buffer.compare(frame, frames.subarray(i * size, (i + 1) * size));
        expect({ i, same }).toEqual({ i, same: 0 });
      }
    }
  },
);

// FFmpeg's decoder keeps distances of time over a flush, and leaves out pictures for those that make no sense.
test('interlaced MPEG-4 is read from anywhere', async () => {
  const source = [
    '-f',
    'lavfi',
    '-i',
    'testsrc2=s=64x48:d=1.92',
    '-c:v',
    'mpeg4',
    '-bf',
    '2',
    '-flags',
    '+ilme',
  ];
  const file = made('interlaced.mp4', ...source);
  using video = await VideoReader.open(file);
  const frames = await allFrames(video);
  for (const [i, read] of (await oneByOne(file)).entries()) {
    for (const frame of read)
      expect(Buffer.compare(frame, frames.subarray(i * frame.length, (i + 1) * frame.length))).toBe(0);
  }
});

/** FLV files one after the other, as a server writes them whose encoder begins anew. */
function joined(name: string, ...files: string[]): string {
  const parts: Buffer[] = [];
  let begin = 0;
  for (const [place, file] of files.entries()) {
    const bytes = Buffer.from(readFileSync(file));
    if (place === 0) parts.push(bytes.subarray(0, 13));
    let last = 0;
    for (let at = 13; at < bytes.length; ) {
      const size = 11 + bytes.readUIntBE(at + 1, 3) + 4; // with its header and the size behind it
      const isVideo = bytes[at] === 9 && bytes[at + 12] !== 2; // 2: the stream ends
      last = bytes.readUIntBE(at + 4, 3);
      bytes.writeUIntBE(begin + last, at + 4, 3);
      if (isVideo) parts.push(bytes.subarray(at, at + size));
      at += size;
    }
    begin += last + 40;
  }
  writeFileSync(join(folder, name), Buffer.concat(parts));
  return join(folder, name);
}

test('a header that replaces another within the stream holds from there on only, wherever reading begins', async () => {
  const clipOf = (name: string) => made(`${name}.flv`, '-i', path(`${name}.mp4`), '-c', 'copy');
  const names = ['h264_b_frames', 'h264_full_range', 'h264_b_frames'];
  const file = joined('headers.flv', ...names.map(clipOf));
  using video = await VideoReader.open(file);
  const expected: Uint8Array[] = [];
  for (const name of names) {
    using part = await VideoReader.open(path(`${name}.mp4`));
    for (let i = 0; i < part.length; i++) expected.push(await part.get(i));
  }
  expect(video.length).toBe(expected.length);
  for (const [i, read] of (await oneByOne(file)).entries()) {
    for (const frame of [await video.get(i), ...read])
      expect({ i, same: Buffer.compare(frame, expected[i]!) }).toEqual({ i, same: 0 });
  }
});

const retagged = (name: string, settings: string) =>
  made(name, '-i', path('h264_b_frames.mp4'), '-c', 'copy', '-bsf:v', `h264_metadata=${settings}`);

test('what is cropped at the left and at the top is cropped to the pixel', async () => {
  using whole = await VideoReader.open(path('h264_b_frames.mp4'));
  using video = await VideoReader.open(retagged('cropped.mp4', 'crop_left=6:crop_top=4'));
  expect([video.width, video.height]).toEqual([62, 44]);
  const [from, frame] = [await whole.get(20), await video.get(20)];
  for (let y = 0; y < 44; y++) {
    const row = ((y + 4) * 68 + 6) * 3;
    expect(frame.subarray(y * 62 * 3, (y + 1) * 62 * 3)).toEqual(from.subarray(row, row + 62 * 3));
  }
});

test('colours that are wrongly said to be RGB are those of untagged ones', async () => {
  using untagged = await VideoReader.open(path('h264_b_frames.mp4'));
  using video = await VideoReader.open(retagged('tagged.mp4', 'matrix_coefficients=0'));
  expect(Buffer.compare(await video.get(20), await untagged.get(20))).toBe(0);
});

test('a frame rate that the container does not give is that of the codec', async () => {
  const source = ['-f', 'lavfi', '-i', 'testsrc2=s=64x48:r=10:d=0.5'];
  using video = await VideoReader.open(made('ten_a_second.m4v', ...source, '-c:v', 'mpeg4', '-f', 'm4v'));
  expect([video.fps, video.length]).toEqual([10, 5]);
});

test('a stream can be chosen', async () => {
  using second = await VideoReader.open(path('two_streams.mp4'), { stream: 1 });
  expect(second.length).toBe(clips['h264_edit_list.mp4']!.frameCount);
  using best = await VideoReader.open(path('two_streams.mp4')); // the one with more bits a second
  expect(best.length).toBe(second.length);
  await expect(VideoReader.open(path('two_streams.mp4'), { stream: 2 })).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
  });
});

test('bytes in memory and byte ranges read like files', async () => {
  const name = 'h264_open_gop.mkv';
  const bytes = readFileSync(path(name));
  using memory = await VideoReader.open(Uint8Array.from(bytes));
  expect(sha256(await allFrames(memory))).toBe(clips[name]!.sha256);
  const archive = join(folder, 'archive.bin');
  writeFileSync(archive, Buffer.concat([Buffer.alloc(777, 1), bytes, Buffer.alloc(555, 2)]));
  using range = await VideoReader.open({ path: archive, offset: 777, length: bytes.length });
  expect(sha256(await allFrames(range))).toBe(clips[name]!.sha256);
  for (const outside of [{ offset: 777, length: bytes.length + 1000 }, { offset: bytes.length + 1333 }]) {
    await expect(VideoReader.open({ path: archive, ...outside })).rejects.toMatchObject({
      code: 'ERR_FILE_READ',
    });
  }
});

test('iterates over all frames', async () => {
  using video = await VideoReader.open(path('hevc_open_gop.mp4'));
  const numbers: number[] = [];
  for await (const frame of video) numbers.push(...numbersIn(frame, video.width, video.height));
  expect(numbers).toEqual(Array.from({ length: 40 }, (_, i) => i));
});

test('decoder threads change nothing', async () => {
  for (const name of ['h264_b_frames.mp4', 'hevc_open_gop.mp4', 'av1.mkv', 'vp9_hidden_frames.webm']) {
    using video = await VideoReader.open(path(name), { threads: 4 });
    const some = await video.getBatch([39, 3, 20]);
    expect(numbersIn(some, video.width, video.height)).toEqual([39, 3, 20]);
    expect(sha256(await allFrames(video))).toBe(clips[name]!.sha256);
  }
});

test('numbers outside the video are refused', async () => {
  using video = await VideoReader.open(path('av1.mkv'));
  for (const index of [-1, 40, 1.5, Number.NaN, 2 ** 32]) {
    await expect(video.get(index)).rejects.toMatchObject({ code: 'ERR_FRAME_RANGE' });
  }
  expect(await video.getBatch([])).toHaveLength(0);
});

describe('lifetime', () => {
  test('closing stops a call under way, and later calls are refused', async () => {
    const before = videoAddon().counters().openVideos;
    const video = await VideoReader.open(path('h264_b_frames.mp4'));
    expect(videoAddon().counters().openVideos).toBe(before + 1);
    const plan = {
      frames: Array.from({ length: 4000 }, (_, i) => (i * 17) % 40),
      resize: null,
      flip: false,
      gray: false,
    };
    const crops: [number, number, number, number][] = [[0, 0, 68, 48]];
    const mean: [number, number, number] = [0, 0, 0];
    const std: [number, number, number] = [1, 1, 1];
    const out = new Float32Array(4000 * 3 * 64 * 64);
    const work = [
      video.getBatch([39]),
      video.runPlan({ ...plan, crops, size: 64, jitter: null, mean, std }, out),
    ];
    video.close();
    const results = await Promise.allSettled(work);
    expect(results[1]).toMatchObject({ status: 'rejected', reason: { code: 'ERR_DISPOSED' } });
    await expect(video.get(0)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    video.close();
    expect(videoAddon().counters().openVideos).toBe(before);
  });

  test('a signal stops opening and reading, and the reader is usable afterwards', async () => {
    await expect(VideoReader.open(path('av1.mkv'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      name: 'CodedError',
    });
    using video = await VideoReader.open(path('h264_b_frames.mp4'));
    const controller = new AbortController();
    const frames = Array.from({ length: 40 }, (_, i) => 39 - i);
    const running = video.getBatch(frames, { signal: controller.signal });
    controller.abort();
    await running.catch((error) => expect(error).toMatchObject({ code: 'ERR_ABORTED' }));
    expect(numbersIn(await video.get(11), video.width, video.height)).toEqual([11]);
  });

  test('a signal stops a call that waits for the one before it', async () => {
    videoAddon().setWorkerCount(2);
    using video = await VideoReader.open(path('h264_b_frames.mp4'), { width: 4096, height: 3072 });
    const frames = Array.from({ length: video.length }, (_, i) => i);
    const crops: [number, number, number, number][] = [[0, 0, 1, 1]];
    const numbers: [number, number, number] = [1, 1, 1];
    const plan = { frames, crops, resize: null, size: 1, flip: false, jitter: null, gray: false };
    const settled: string[] = [];
    const work = video.runPlan({ ...plan, mean: numbers, std: numbers }, new Uint8Array(3 * frames.length));
    const long = work.then(() => settled.push('long'));
    const controller = new AbortController();
    const waiting = video.get(0, { signal: controller.signal }).catch(({ code }) => settled.push(code));
    controller.abort();
    await Promise.all([long, waiting]);
    expect(settled).toEqual(['ERR_ABORTED', 'long']);
  });

  test('a deadline that has passed names the video', async () => {
    const frames = await videoAddon().encodeVideo(
      join(folder, 'long.mp4'),
      { width: 640, height: 480, fps: 25 },
      numberedFrames(100, 640, 480),
    );
    expect(frames.frameCount).toBe(100);
    using video = await VideoReader.open(join(folder, 'long.mp4'));
    const late = video.getBatch([99], { deadlineMs: 1 });
    await expect(late).rejects.toMatchObject({
      code: 'ERR_VIDEO_TIMEOUT',
      message: expect.stringContaining('long.mp4'),
    });
    expect(numbersIn(await video.get(99), 640, 480)).toEqual([99]);
  });
});
