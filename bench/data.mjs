// Speed of decoding and of the training pipeline.
//
//   node bench/data.mjs [--peer decode.py --python FILE] [--rounds 5] [--keep] [CLIP ...]
//
// Each clip is measured as it is and as `data cache` copies it (short side 256, a key frame every 16 frames): on one
// thread 8 evenly spaced frames, beside what FFmpeg alone needs to decode them; the official training sample, beside its
// frames alone; on all cores every frame. Without clips, one is drawn. With --peer, PyAV and OpenCV run the same work.
// Everything is measured in rounds, ours and the others in turn, so that a busy moment meets both; each round is kept, and
// a ratio is the median of those of the rounds. Results go to bench/results/data.json; with --keep those of other clips,
// measured on the same machine and day, stay there.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { allCores } from './data/all_cores.mjs';
import { buildFloor, measureFloor, measureOurs, measurePeer, videoAddon } from './data/measure.mjs';
import { machine, median, root, saveResult } from './machine.mjs';

const require = createRequire(import.meta.url);
const { cacheDataset } = require(join(root, 'dist/data/short_gop_cache'));
const { VideoDataset } = require(join(root, 'dist/data'));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    repeats: { type: 'string', default: '19' }, // of each work in a round, of which the median counts
    rounds: { type: 'string', default: '5' },
    keep: { type: 'boolean' },
  },
});
const repeats = Number(values.repeats);
const rounds = Number(values.rounds);
const folder = mkdtempSync(join(tmpdir(), 'bench-data-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** 300 frames of 340 x 256 with key frames 150 apart: a moving pattern under noise. */
async function drawClip() {
  const [count, width, height] = [300, 340, 256];
  const frames = new Uint8Array(count * height * width * 3);
  let noise = 1;
  for (let i = 0; i < frames.length; i++) {
    noise = (noise * 48271) % 2147483647;
    const pixel = Math.floor(i / 3);
    const frame = Math.floor(pixel / (width * height));
    const [x, y] = [pixel % width, Math.floor(pixel / width) % height];
    frames[i] = (128 + 90 * Math.sin((x + 2 * frame) / 17) * Math.cos((y - frame) / 23) + (noise & 15)) & 255;
  }
  const path = join(folder, 'drawn.mp4');
  await videoAddon().encodeVideo(path, { width, height, fps: 30, gop: 150, bFrames: 2 }, frames);
  return path;
}

/** A copy with short groups of pictures, as the command `data cache` makes it. */
async function cached(clip) {
  const output = join(folder, `copies-${basename(clip)}`);
  const list = join(folder, 'list.txt');
  writeFileSync(list, `${basename(clip)} 0\n`);
  const dataset = await VideoDataset.fromList(list, { root: dirname(clip) });
  const settings = { shortSide: 256, gop: 16, quality: 4 };
  const { entries, failed } = await cacheDataset(dataset, { output, listName: 'list.txt', settings });
  if (failed.length > 0) throw new Error(failed[0].reason);
  return join(output, entries[0].name);
}

const rounded = (value) => Number(value.toFixed(2));

/** Of each round `of(round)`, and the median: `{ median, rounds }`. */
function overRounds(list, of) {
  const values = list.map((round) => rounded(of(round)));
  return { median: median(values), rounds: values };
}

async function measure(clip, label, floorProgram) {
  const list = [];
  for (let number = 0; number < rounds; number++) {
    const peer = values.peer ? { peer: measurePeer(values.python, values.peer, clip) } : {};
    const floor = measureFloor(floorProgram, clip, repeats);
    list.push({ ...peer, floor, ours: await measureOurs(clip, repeats), allCores: await allCores(clip) });
  }
  const row = {
    clip: basename(clip),
    copy: label,
    framesMs: overRounds(list, ({ ours }) => ours.frames.ms),
    clipsPerSecond: overRounds(list, ({ ours }) => 1000 / ours.train.ms),
    // Shares of processor time: those beside them on the machine do not count.
    openOverFfmpegMs: overRounds(list, ({ ours, floor }) => ours.open.cpuMs - floor.openMs),
    framesToFloor: overRounds(list, ({ ours, floor }) => ours.frames.cpuMs / floor.decodeMs),
    decodeShareOfTraining: overRounds(list, ({ ours }) => ours.trainFrames.cpuMs / ours.train.cpuMs),
    allCores: overRounds(list, ({ allCores }) => allCores.ours / allCores.ffmpeg),
  };
  if (values.peer) {
    row.timesPyav = overRounds(list, ({ ours, peer }) => peer.pyav / ours.frames.ms);
    row.timesOpencvSeek = overRounds(list, ({ ours, peer }) => peer.opencv_seek / ours.frames.ms);
    row.timesPeerTraining = overRounds(list, ({ ours, peer }) => peer.train / ours.trainPlain.ms);
  }
  console.log(JSON.stringify(row));
  return { ...row, measured: list };
}

/** What an earlier call has measured of other clips, in the same way, here and today. */
function keptRows(names) {
  const file = join(root, 'bench/results/data.json');
  if (!values.keep || !existsSync(file)) return [];
  const { date, machine: where, rows, ...how } = JSON.parse(readFileSync(file, 'utf8'));
  const today = new Date().toISOString().slice(0, 10);
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const isAlike = date === today && same(where, machine()) && same(how, { repeats, rounds });
  return isAlike ? rows.filter(({ of }) => !names.includes(of)) : [];
}

const floorProgram = buildFloor();
const clips = positionals.length > 0 ? positionals : [await drawClip()];
const rows = keptRows(clips.map((clip) => basename(clip)));
for (const clip of clips) {
  const of = basename(clip);
  rows.push({ of, ...(await measure(clip, 'original', floorProgram)) });
  rows.push({
    of,
    ...(await measure(await cached(clip), 'short side 256, key frames 16 apart', floorProgram)),
  });
}
console.log(saveResult('data', { repeats, rounds, rows }));
