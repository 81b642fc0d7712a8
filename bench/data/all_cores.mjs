// Frames per second on all cores: every clip decoded and converted to RGB from its first frame to its last, by our worker
// threads and by as many `ffmpeg -threads 1` processes as there are cores.
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { videoAddon, withVideo } from './measure.mjs';

const run = promisify(execFile);
const cores = availableParallelism();
const rounds = 4; // of the clip, on each core

async function readAll(video, buffer) {
  const size = video.width * video.height * 3;
  for (let first = 0; first < video.length; first += 32) {
    const count = Math.min(32, video.length - first);
    const indices = Array.from({ length: count }, (_, i) => first + i);
    await video.getBatch(indices, { out: buffer.subarray(0, count * size) });
  }
  return video.length;
}

async function ours(clip) {
  videoAddon().setWorkerCount(cores);
  const bytes = await withVideo(clip, (video) => 32 * video.width * video.height * 3);
  const buffers = Array.from({ length: cores }, () => new Uint8Array(bytes));
  let frames = 0;
  const start = performance.now();
  await Promise.all(
    buffers.map(async (buffer) => {
      for (let round = 0; round < rounds; round++) {
        frames += await withVideo(clip, (video) => readAll(video, buffer));
      }
    }),
  );
  return { seconds: (performance.now() - start) / 1000, frames };
}

async function ffmpeg(clip) {
  const input = ['-threads', '1', '-stream_loop', String(rounds - 1), '-i', clip];
  const output = [
    '-map',
    '0:v:0',
    '-filter_threads',
    '1',
    '-vf',
    'format=rgb24',
    '-f',
    'rawvideo',
    '-y',
    '/dev/null',
  ];
  const start = performance.now();
  await Promise.all(Array.from({ length: cores }, () => run('ffmpeg', ['-v', 'error', ...input, ...output])));
  return (performance.now() - start) / 1000;
}

/** Frames per second of both. */
export async function allCores(clip) {
  const own = await ours(clip);
  const seconds = await ffmpeg(clip);
  return { cores, ours: Math.round(own.frames / own.seconds), ffmpeg: Math.round(own.frames / seconds) };
}
