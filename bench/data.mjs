// Speed of decoding and of the training pipeline.
//
//   node bench/data.mjs [--peer decode.py --python FILE] [CLIP ...]
//
// Each clip is measured as it is and as `data cache` copies it (short side 256, a key frame every 16 frames): on one
// thread 8 evenly spaced frames, beside what FFmpeg alone needs to decode them; the official training sample, beside its
// frames alone; on all cores every frame. Without clips, one is drawn. With --peer, PyAV and OpenCV run the same work in
// turn with ours, and the better of two runs counts on both sides. Results go to bench/results/data.json.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { allCores } from './data/all_cores.mjs';
import { buildFloor, measureFloor, measureOurs, measurePeer, videoAddon } from './data/measure.mjs';
import { root, saveResult } from './machine.mjs';

const require = createRequire(import.meta.url);
const { cacheDataset } = require(join(root, 'dist/data/short_gop_cache'));
const { VideoDataset } = require(join(root, 'dist/data'));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    repeats: { type: 'string', default: '9' },
  },
});
const repeats = Number(values.repeats);
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

/** The better of two runs, way by way. */
function better(a, b) {
  const least = (x, y) => (typeof x === 'number' ? Math.min(x, y) : better(x, y));
  return Object.fromEntries(Object.keys(a).map((key) => [key, least(a[key], b[key])]));
}

const ratio = (a, b) => Number((a / b).toFixed(2));

async function measure(clip, label, floorProgram) {
  const round = async () => {
    const peer = values.peer ? { peer: measurePeer(values.python, values.peer, clip) } : {};
    const floor = measureFloor(floorProgram, clip, repeats);
    return { floor, ...peer, ours: await measureOurs(clip, repeats) };
  };
  const { ours, floor, peer } = better(await round(), await round());
  const row = {
    clip: basename(clip),
    copy: label,
    clipsPerSecond: ratio(1000, ours.train.ms),
    // Shares of processor time: those beside them on the machine do not count.
    openOverFfmpegMs: Number((ours.open.cpuMs - floor.openMs).toFixed(2)),
    framesToFloor: ratio(ours.frames.cpuMs, floor.decodeMs),
    decodeShareOfTraining: ratio(ours.trainFrames.cpuMs, ours.train.cpuMs),
    ours,
    floor,
    allCores: await allCores(clip),
  };
  if (peer) {
    row.peer = peer;
    row.timesPyav = ratio(peer.pyav, ours.frames.ms);
    row.timesOpencvSeek = ratio(peer.opencv_seek, ours.frames.ms);
    row.timesPeerTraining = ratio(peer.train, ours.trainPlain.ms);
  }
  console.log(JSON.stringify(row));
  return row;
}

const floorProgram = buildFloor();
const clips = positionals.length > 0 ? positionals : [await drawClip()];
const rows = [];
for (const clip of clips) {
  rows.push(await measure(clip, 'original', floorProgram));
  rows.push(await measure(await cached(clip), 'short side 256, key frames 16 apart', floorProgram));
}
console.log(saveResult('data', { repeats, rows }));
