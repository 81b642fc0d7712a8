import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { VideoReader } from '../../lib/data/video_reader';
import { type CancelToken, type EncodeOptions, type VideoHandle, videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { yieldingThreads } from '../support/threads';
import { numberedFrames, numbersIn, temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const addonPath = resolve(__dirname, '../../bindings/video/build/Release/video.node');
const clip = fixturePath('video/h264_b_frames.mp4');

describe('encoder', () => {
  const frames = numberedFrames(30);
  const numbers = Array.from({ length: 30 }, (_, i) => i);
  const options: EncodeOptions = { width: 64, height: 48, fps: 30000 / 1001 };

  test.each([
    ['h264.mp4', { ...options, codec: 'h264', gop: 10 }, [0, 10, 20]],
    ['h264_b.mp4', { ...options, codec: 'h264', gop: 15, bFrames: 3 }, [0, 15]],
    ['mpeg4.mp4', { ...options, codec: 'mpeg4', gop: 10 }, [0, 10, 20]],
    ['bitrate.mp4', { ...options, codec: 'mpeg4', bitrate: 400000 }, [0, 12, 24]],
  ] as [string, EncodeOptions, number[]][])(
    '%s is read back frame by frame',
    async (name, settings, keys) => {
      const path = join(folder, name);
      const result = await videoAddon().encodeVideo(path, settings, frames);
      expect(result.frameCount).toBe(30);
      using video = await VideoReader.open(path);
      expect(video.info).toMatchObject({ codec: result.codec, width: 64, height: 48, frameCount: 30 });
      expect(video.fps).toBeCloseTo(30000 / 1001, 6);
      expect(Array.from(video.info.keyFrames)).toEqual(keys);
      const words = ['-v', 'error', '-show_entries', 'frame=pict_type', '-of', 'csv=p=0', path];
      expect(/B/.test(execFileSync('ffprobe', words, { encoding: 'utf8' }))).toBe('bFrames' in settings);
      const decoded = await video.getBatch(numbers);
      expect(numbersIn(decoded, 64, 48)).toEqual(numbers);
      let error = 0;
      for (let i = 0; i < frames.length; i++) error += Math.abs(frames[i]! - decoded[i]!);
      expect(error / frames.length).toBeLessThan(8);
    },
  );

  // libx264 reads memory of others where its macroblock tree is on: rare, so that one comparison would not see it.
  test('the same frames give the same bytes, however often', async () => {
    const noise = new Uint8Array(8 * 32 * 32 * 3).map((_, i) => Math.imul(i, 2654435761) >>> 13);
    const settings: EncodeOptions = { width: 32, height: 32, fps: 16 };
    const paths = Array.from({ length: 8 }, (_, i) => join(folder, `same_${i}.mp4`));
    let first: Buffer | undefined;
    for (let round = 0; round < 60; round++) {
      await Promise.all(paths.map((path) => videoAddon().encodeVideo(path, settings, noise)));
      for (const path of paths) {
        const bytes = readFileSync(path);
        first ??= bytes;
        expect(bytes.equals(first)).toBe(true);
      }
    }
  });

  test.each(['h264', 'mpeg4'] as const)(
    '%s: quality, rate and key frames are as asked for',
    async (codec) => {
      const random = new Philox(1, 0);
      const noise = new Uint8Array(12 * 64 * 48 * 3).map(() => random.integer(256)); // every picture a new scene
      const path = join(folder, 'noise.mp4');
      const bytes = async (settings: Partial<EncodeOptions>) => {
        await videoAddon().encodeVideo(path, { ...options, codec, gop: 5, ...settings }, noise);
        using video = await VideoReader.open(path);
        expect(Array.from(video.keyFrames)).toEqual([0, 5, 10]);
        return statSync(path).size;
      };
      const usual = await bytes({});
      expect(await bytes({ quality: 4 })).toBe(usual);
      expect(await bytes({ quality: 1 })).toBeGreaterThan(1.1 * usual);
      expect(await bytes({ quality: 20 })).toBeLessThan(0.5 * usual);
      expect(await bytes({ bitrate: 50_000 })).toBeLessThan(0.8 * (await bytes({ bitrate: 1_000_000 })));
    },
  );

  // A limit on the size of files stands for a full disk; without a trap the system would end the process.
  test.each([
    ['the pictures', 30, 'writing'],
    ['what comes behind them', 1, 'end of file'],
  ])('a disk that has no room for %s is named, and nothing is left', (_, count, what) => {
    const place = join(folder, `full_${count}`);
    mkdirSync(place);
    const script = `const [, addonPath, path, count] = process.argv;
      const pictures = new Uint8Array(count * 64 * 48 * 3).map((_, i) => count === '1' ? 0 : Math.imul(i, 2654435761) >>> 13);
      require(addonPath).encodeVideo(path, { width: 64, height: 48, fps: 25 }, pictures)
        .catch((error) => console.log(error.code, error.message));`;
    const limited = `trap '' XFSZ; ulimit -f 2; exec "$0" "$@"`;
    const words = ['-e', script, addonPath, join(place, 'x.mp4'), `${count}`];
    const { stdout } = spawnSync('sh', ['-c', limited, process.execPath, ...words], { encoding: 'utf8' });
    expect(stdout).toMatch(new RegExp(`^ERR_FILE_WRITE .*x\\.mp4: ${what}: File too large`));
    expect(readdirSync(place)).toEqual([]);
  });

  test.each([
    ['odd size', { ...options, width: 63 }],
    ['no size', { ...options, width: undefined }],
    ['another codec', { ...options, codec: 'vp9' }],
    ['fps 0', { ...options, fps: 0 }],
    ['quality 0', { ...options, quality: 0 }],
    ['frames that do not fit', { ...options, height: 50 }],
  ])('%s is refused', async (_, settings) => {
    const call = videoAddon().encodeVideo(join(folder, 'never.mp4'), settings as EncodeOptions, frames);
    await expect(call).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  test('a failure leaves no file behind', async () => {
    const place = join(folder, 'clean');
    mkdirSync(place);
    const addon = videoAddon();
    const missing = addon.encodeVideo(join(place, 'none', 'x.mp4'), options, frames);
    await expect(missing).rejects.toMatchObject({ code: 'ERR_FILE_WRITE' });
    const token = addon.createCancelToken();
    addon.cancel(token);
    const cancelled = addon.encodeVideo(join(place, 'x.mp4'), options, frames, token);
    await expect(cancelled).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    mkdirSync(join(place, 'taken.mp4'));
    const taken = addon.encodeVideo(join(place, 'taken.mp4'), options, frames);
    await expect(taken).rejects.toMatchObject({ code: 'ERR_FILE_WRITE' });
    expect(readdirSync(place)).toEqual(['taken.mp4']);
  });
});

describe('entries check what they are given', () => {
  const addon = videoAddon();
  test.each([undefined, null, {}, [], () => {}, addon.createCancelToken()])(
    '%p is not a video',
    async (value) => {
      const video = value as unknown as VideoHandle;
      const refused = { code: 'ERR_ARGUMENT', name: 'CodedError' };
      expect(() => addon.videoInfo(video)).toThrow(expect.objectContaining(refused));
      expect(() => addon.closeVideo(video)).toThrow(expect.objectContaining(refused));
      await expect(addon.readFrames(video, new Int32Array(1), new Uint8Array(1))).rejects.toMatchObject(
        refused,
      );
    },
  );

  test('cancel tokens, worker counts, output sizes', async () => {
    const refused = expect.objectContaining({ code: 'ERR_ARGUMENT' });
    expect(() => addon.cancel({} as CancelToken)).toThrow(refused);
    expect(() => addon.setWorkerCount(0)).toThrow(refused);
    const video = await addon.openVideo({ path: clip });
    expect(() => addon.cancel(video as unknown as CancelToken)).toThrow(refused);
    await expect(addon.readFrames(video, new Int32Array(1), new Uint8Array(5))).rejects.toEqual(refused);
    await expect(addon.readFrames(video, [0] as never, new Uint8Array(68 * 48 * 3))).rejects.toEqual(refused);
    addon.closeVideo(video);
  });
});

test('many requests on few workers all settle, and nothing is left running', async () => {
  const addon = videoAddon();
  addon.setWorkerCount(3);
  const results = await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      using video = await VideoReader.open(clip);
      return numbersIn(await video.get(i % 40), 68, 48)[0];
    }),
  );
  expect(results).toEqual(Array.from({ length: 60 }, (_, i) => i % 40));
  addon.setWorkerCount(1);
  expect(addon.counters()).toMatchObject({ queued: 0, workers: 1, openVideos: 0 });
});

describe('loading', () => {
  /** Runs a script in a fresh node, with the addon's path as its first argument and the clip's as its second. */
  function node(script: string, env = {}) {
    return spawnSync(process.execPath, ['-e', script, addonPath, clip], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      timeout: 50000,
    });
  }
  const prelude = 'const [, addonPath, clip] = process.argv; const addon = require(addonPath);';
  const busy = `addon.openVideo({ path: clip }).then((video) => {
    const frames = Array.from({ length: 60000 }, (_, i) => i % 40);
    const plan = { frames, resize: null, crops: [[0, 0, 68, 48]], size: 24, flip: true, jitter: null, gray: true, mean: [0, 0, 0], std: [1, 1, 1] };
    addon.runPlan(video, plan, new Float32Array(60000 * 3 * 24 * 24));
  });`;

  test('unfinished work keeps the process alive, finished work does not', () => {
    const result = node(
      `${prelude} addon.openVideo({ path: clip }).then((v) => console.log(addon.videoInfo(v).frameCount));`,
    );
    expect([result.status, result.signal, result.stdout, result.stderr]).toEqual([0, null, '40\n', '']);
  });

  test('arrays are kept while work uses them, and no longer', () => {
    const result = node(
      `${prelude} (async () => {
      require('node:v8').setFlagsFromString('--expose-gc');
      const collect = require('node:vm').runInNewContext('gc');
      const turn = () => new Promise(setImmediate);
      const encoder = { width: 16, height: 16, fps: 25 };
      const plan = (count) => ({ frames: Array(count).fill(0), resize: null, crops: [[0, 0, 2, 2]], size: 24, flip: false,
        jitter: null, gray: false, mean: [0, 0, 0], std: [1, 1, 1] });
      addon.setWorkerCount(1); // all wait for the first
      const video = await addon.openVideo({ path: clip });
      const file = await addon.openEncoder(process.env.OUT + '/a.mp4', encoder);
      const arrays = [];
      const bytes = (length) => {
        const array = new Uint8Array(length);
        arrays.push(new WeakRef(array));
        return array;
      };
      const calls = (() => [
        addon.runPlan(video, plan(20000), bytes(20000 * 24 * 24 * 3)),
        addon.readFrames(video, Int32Array.of(7), bytes(68 * 48 * 3)),
        addon.runPlanOnFrames(bytes(12), 2, 2, plan(1), bytes(24 * 24 * 3)),
        addon.writeFrames(file, bytes(16 * 16 * 3)),
        addon.encodeVideo(process.env.OUT + '/b.mp4', encoder, bytes(16 * 16 * 3)),
      ])();
      while (addon.counters().running === 0) await turn();
      collect();
      const { queued, running } = addon.counters();
      console.log(queued, running, arrays.filter((array) => array.deref()).length);
      await Promise.all(calls);
      await turn();
      collect();
      console.log(arrays.filter((array) => array.deref()).length);
    })();`,
      { OUT: folder },
    );
    expect([result.stdout, result.stderr]).toEqual(['4 1 6\n0\n', '']);
  });

  test('requests beyond those that can wait are refused', () => {
    const result = node(`${prelude} addon.openVideo({ path: clip }).then((video) => {
      for (let i = 0; i < 2 ** 16 + 2; i++)
        addon.readFrames(video, new Int32Array(0), new Uint8Array(0)).catch((error) => {
          console.log(error.code, error.message);
          process.exit();
        });
    });`);
    expect(result.stdout).toMatch(/^ERR_ARGUMENT more than 65536 requests are waiting/);
  });

  test('memory that there is not is an error', () => {
    const script = `${prelude} addon.openVideo({ path: clip }, { width: 30000, height: 30000, maxPixels: 2 ** 30 }).then((video) => {
        const plan = { frames: [0], resize: null, crops: [[0, 0, 1, 1]], size: 1, flip: false, jitter: null, gray: false,
          mean: [0, 0, 0], std: [1, 1, 1] };
        return addon.runPlan(video, plan, new Uint8Array(3));
      }).catch((error) => console.log(error.code));`;
    const limited = 'ulimit -d 2000000; exec "$0" "$@"'; // the picture takes 2.7 GB
    const words = ['-c', limited, process.execPath, '-e', script, addonPath, clip];
    expect(spawnSync('sh', words, { encoding: 'utf8' }).stdout).toBe('ERR_OUT_OF_MEMORY\n');
  });

  test('process.exit during work ends cleanly', () => {
    const result = node(`${prelude} ${busy} setTimeout(() => process.exit(7), 60);`);
    expect([result.status, result.signal, result.stderr]).toEqual([7, null, '']);
  });

  test('worker threads load it, decode at the same time, and can be terminated while they do', () => {
    const worker = `const { workerData } = require('node:worker_threads'); const [addonPath, clip] = workerData;
      const addon = require(addonPath); ${busy}`;
    const result = node(`${prelude} const { Worker } = require('node:worker_threads');
      const start = () => new Worker(${JSON.stringify(worker)}, { eval: true, workerData: [addonPath, clip] });
      const workers = [start(), start(), start()];
      setTimeout(async () => {
        await Promise.all(workers.map((w) => w.terminate()));
        const video = await addon.openVideo({ path: clip });
        console.log(addon.videoInfo(video).frameCount, addon.counters().openVideos);
      }, 250);`);
    expect([result.status, result.signal, result.stdout, result.stderr]).toEqual([0, null, '40 1\n', '']);
  });

  test('worker threads can be terminated at any moment, while they load it too', () => {
    const worker = `const { workerData } = require('node:worker_threads'); const [addonPath, clip] = workerData;
      const addon = require(addonPath); ${busy}`;
    const result = node(`${prelude} const { Worker } = require('node:worker_threads');
      const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      (async () => {
        for (let k = 0; k < 15; k++) {
          const start = () => new Worker(${JSON.stringify(worker)}, { eval: true, workerData: [addonPath, clip] });
          const workers = [start(), start(), start()];
          await pause(20 + 10 * k);
          await Promise.all(workers.map((w) => w.terminate()));
        }
        console.log('done');
      })();`);
    expect([result.status, result.signal, result.stdout, result.stderr]).toEqual([0, null, 'done\n', '']);
  });

  test('a missing or broken addon is one error with every candidate and a remedy', () => {
    const broken = join(folder, 'broken.node');
    writeFileSync(broken, 'not a library');
    chmodSync(broken, 0o755);
    const saved = process.env.VIDEO_ADDON_PATH;
    try {
      for (const path of [broken, join(folder, 'absent.node')]) {
        process.env.VIDEO_ADDON_PATH = path;
        jest.isolateModules(() => {
          const fresh = require('../../lib/native/video') as typeof import('../../lib/native/video');
          expect(() => fresh.videoAddon()).toThrow(
            expect.objectContaining({
              code: 'ERR_NATIVE_LOAD',
              message: expect.stringMatching(/: .+\nCorrect VIDEO_ADDON_PATH or unset it\.$/),
            }),
          );
        });
      }
    } finally {
      if (saved === undefined) delete process.env.VIDEO_ADDON_PATH;
      else process.env.VIDEO_ADDON_PATH = saved;
    }
    expect(existsSync(addonPath)).toBe(true);
  });
});

(yieldingThreads() === null ? test.skip : test)(
  'workers in the background yield to all others, and only they',
  async () => {
    const decode = async () => {
      const videos = await Promise.all(Array.from({ length: 8 }, () => VideoReader.open(clip)));
      const frames = await Promise.all(videos.map((video) => video.getBatch([7])));
      for (const video of videos) video.close();
      return frames.map((frame) => Buffer.from(frame).toString('base64'));
    };
    const addon = videoAddon();
    addon.setWorkerCount(2);
    const frames = await decode();
    expect(yieldingThreads()).toBe(0);
    addon.setWorkerCount(2, true);
    expect(await decode()).toEqual(frames);
    expect(yieldingThreads()).toBe(2);
    addon.setWorkerCount(1, true);
    while (yieldingThreads() !== 1) await new Promise((resume) => setTimeout(resume, 10)); // the other one ends
    const waiting = decode();
    addon.setWorkerCount(3);
    expect(await waiting).toEqual(frames);
    while (yieldingThreads() !== 0) await new Promise((resume) => setTimeout(resume, 10)); // those that are left end, yielding
    expect(() => addon.setWorkerCount(3, 1 as unknown as boolean)).toThrow(
      /background must be true or false/,
    );
  },
);
