// How one clip is read: by this package, by FFmpeg alone (decode_floor.cc), and by PyAV and OpenCV (the peer's program).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, root } from '../machine.mjs';

const require = createRequire(import.meta.url);
const load = (module) => require(join(root, 'dist', module));
const { VideoReader } = load('data/video_reader');
const { trainPlanner } = load('data/plan');
export const { videoAddon } = load('native/video');
const { Philox } = load('base/philox');

/** Compiles decode_floor.cc and returns the program's path; it goes with this process. */
export function buildFloor() {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'decode_floor');
  const libraries = execFileSync('pkg-config', [
    '--cflags',
    '--libs',
    'libavformat',
    'libavcodec',
    'libavutil',
  ]);
  const flags = libraries.toString().trim().split(/\s+/);
  execFileSync('g++', [
    '-std=c++17',
    '-O2',
    join(root, 'bench/data/decode_floor.cc'),
    '-o',
    program,
    ...flags,
  ]);
  return program;
}

/** Opens a clip, awaits `use` with its reader, and closes it. */
export async function withVideo(clip, use) {
  const video = await VideoReader.open(clip);
  try {
    return await use(video);
  } finally {
    video.close();
  }
}

const round = (value, digits = 2) => Number(value.toFixed(digits));

/** Runs that do not count: Node compiles what it runs often, in the first few. */
const warmUp = 5;

/** Median milliseconds of `call`, elapsed and of the processor, after some runs that do not count. */
async function time(call, repeats) {
  const elapsed = [];
  const processor = [];
  for (let repeat = 1 - warmUp; repeat <= repeats; repeat++) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await call(Math.abs(repeat));
    const { user, system } = process.cpuUsage(before);
    if (repeat <= 0) continue;
    elapsed.push(performance.now() - start);
    processor.push((user + system) / 1000);
  }
  return { ms: round(median(elapsed)), cpuMs: round(median(processor)) };
}

const uniform = (count) => Array.from({ length: 8 }, (_, k) => Math.floor((count / 8) * k + count / 16));

/**
 * Ours on one thread: opening; 8 evenly spaced frames at full size; the official training sample and its frames alone;
 * the training sample without jitter and grey, which is what the peer's program makes.
 */
export async function measureOurs(clip, repeats) {
  videoAddon().setWorkerCount(1);
  const out = new Float32Array(8 * 3 * 224 * 224);
  const official = { numFrames: 8, inputSize: 224, shift: 0, flip: 0.5, colorJitter: 0.8, grayScale: 0.2 };
  const train = (options) => {
    const planner = trainPlanner({ ...official, ...options });
    return (repeat) =>
      withVideo(clip, (video) => video.runPlan(planner.plan(video.info, new Philox(1, repeat)), out));
  };
  const framesAlone = (repeat) =>
    withVideo(clip, (video) => {
      const { frames } = trainPlanner(official).plan(video.info, new Philox(1, repeat));
      return video.getBatch(frames);
    });
  const frames = () => withVideo(clip, (video) => video.getBatch(uniform(video.length)));
  return {
    open: await time(() => withVideo(clip, () => {}), repeats),
    frames: await time(frames, repeats),
    train: await time(train({}), repeats),
    trainFrames: await time(framesAlone, repeats),
    trainPlain: await time(train({ colorJitter: 0, grayScale: 0 }), repeats),
  };
}

export const measureFloor = (program, clip, repeats) =>
  JSON.parse(execFileSync(program, [String(repeats), clip], { encoding: 'utf8' }));

/** Elapsed milliseconds of the peer's ways: `pyav`, `opencv_seek`, `train`. */
export function measurePeer(python, program, clip) {
  const lines = execFileSync(python, [program, clip], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const rows = lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return Object.fromEntries(rows.map(({ way, ms }) => [way, ms]));
}
