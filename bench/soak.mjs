// npm run soak [-- --cycles 10000 CLIP ...]
//
// Opens, reads and closes videos thousands of times and watches the memory of the process at rest: it may grow by less
// than 5 MB. As many cycles go before as warm-up, in the same rhythm: V8's young generation doubles only after several
// thousand (2 MB), while a leak grows in the second half as in the first. Then reads a video while the consumer sleeps:
// nothing may pile up. Clips are those of test/fixtures/video unless others are named. Results of 10,000 cycles and more
// go to bench/results/soak.json.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root, saveResult } from './machine.mjs';

const { VideoReader, VideoLoader } = createRequire(import.meta.url)(join(root, 'dist/video'));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cycles: { type: 'string', default: '10000' } },
});
const cycles = 10 * Math.max(1, Math.round(Number(values.cycles) / 10));
const fixtures = join(root, 'test/fixtures/video');
const clips =
  positionals.length > 0
    ? positionals
    : readdirSync(fixtures)
        .filter((name) => /\.(?:mp4|mkv|mov|avi|webm)$/.test(name))
        .map((name) => join(fixtures, name));
const limitMb = 5;
const recorded = cycles >= 10000;
const sampleCount = recorded ? 10 : 2;
const sleepMs = recorded ? 3000 : 300; // of the consumer

/**
 * Resident megabytes of the process's own memory, without what JavaScript could give back; on Linux also without the pages
 * of programs and libraries, which the system brings in and drops as it likes.
 */
async function residentMb() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc();
    await sleep(150); // after 200 ms without work the addon gives freed memory back
  }
  if (process.platform !== 'linux') return process.memoryUsage().rss / 2 ** 20;
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
}

async function cycle(number) {
  const video = await VideoReader.open(clips[number % clips.length], { shortSide: 32 + (number % 3) });
  try {
    await video.getBatch([0, video.length - 1, number % video.length]);
  } finally {
    video.close();
  }
}

async function openReadClose() {
  const samples = [];
  let totalBefore = 0;
  for (let number = 1; number <= 2 * cycles; number++) {
    await cycle(number);
    if (number % (cycles / sampleCount) === 0) samples.push(await residentMb());
    if (number === cycles) totalBefore = process.memoryUsage().rss;
  }
  const before = samples[samples.length / 2 - 1];
  const growth = samples.map((sample) => Number((sample - before).toFixed(2)));
  const withLibrariesMb = Number(((process.memoryUsage().rss - totalBefore) / 2 ** 20).toFixed(2));
  return {
    warmUp: cycles,
    cycles,
    residentMb: Number(before.toFixed(1)),
    growthMb: growth.at(-1),
    warmUpOverTimeMb: growth.slice(0, growth.length / 2),
    growthOverTimeMb: growth.slice(growth.length / 2),
    withLibrariesMb,
  };
}

/** A consumer that works on one frame, or batch, for a while. */
async function sleepingConsumer() {
  const growth = [];
  const watch = async () => {
    await sleep(300); // what is read ahead is there now
    const before = await residentMb();
    await sleep(sleepMs);
    growth.push(Number(((await residentMb()) - before).toFixed(2)));
  };
  const video = await VideoReader.open(clips[0], { width: 1280, height: 960 });
  let seen = 0;
  for await (const _ of video) {
    if (++seen === 3) {
      await watch();
      break;
    }
  }
  video.close();
  const loader = await VideoLoader.open(clips, { batchSize: 8, width: 640, height: 480, shuffle: 'all' });
  seen = 0;
  for await (const _ of loader) {
    if (++seen === 3) {
      await watch();
      break;
    }
  }
  return { frameByFrameMb: growth[0], loaderMb: growth[1] };
}

if (!globalThis.gc) {
  console.error('soak: run it with node --expose-gc');
  process.exit(1);
}
const reading = await openReadClose();
const sleeping = await sleepingConsumer();
console.log(JSON.stringify({ ...reading, sleeping }));
const grown = Math.max(reading.growthMb, sleeping.frameByFrameMb, sleeping.loaderMb);
if (!(grown < limitMb)) {
  console.error(`soak: memory grew by ${grown} MB, more than ${limitMb} MB`);
  process.exitCode = 1;
} else if (recorded) {
  console.log(
    saveResult('soak', {
      limitMb,
      ...reading,
      sleeping,
    }),
  );
}
