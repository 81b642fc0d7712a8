// Rewrites the figures in README.md from bench/results/*.json, between the two markers.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, shortNumber } from './machine.mjs';

const read = (name) => {
  const file = join(root, 'bench/results', `${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
};

function modelTable() {
  const result = read('model-cpu');
  if (!result) return '';
  const { machine, date, rows } = result;
  const names = { b32: 'B/32', b16: 'B/16', l14: 'L/14' };
  const pairs = rows[0].speedups?.length;
  const how = pairs ? `; medians of ${pairs} pairs of runs in turn (least to most)` : '';
  const body = rows.map(({ ours, torch, speedup, speedups, memory }) => {
    const range = speedups
      ? ` (${Math.min(...speedups).toFixed(2)} to ${Math.max(...speedups).toFixed(2)})`
      : '';
    const work = ours.mode === 'infer' ? 'inference' : 'training step';
    return [
      `${work} ${names[ours.arch]} ${ours.frames}f, batch ${ours.batch}, ${ours.dtype}`,
      `${ours.seconds} s`,
      torch ? `${torch.seconds} s` : '–',
      torch ? `${speedup}x${range}` : '–',
      torch ? `${ours.peakRssMb} / ${torch.peak_rss_mb} MB (${memory}x)` : `${ours.peakRssMb} MB`,
    ].join(' | ');
  });
  return [
    `${machine.cores} cores of ${machine.cpu} (${machine.vectors}), ${date}; 400 classes, cached text features${how}:`,
    '',
    '| work | xclip-native | PyTorch | speed | peak memory |',
    '|---|---|---|---|---|',
    ...body.map((row) => `| ${row} |`),
  ].join('\n');
}

function decodeTable() {
  const result = read('data');
  if (!result) return '';
  const { machine, date, rows } = result;
  const times = (value) => (value === undefined ? '–' : `${value}x`);
  const body = rows.map((row) =>
    [
      `${row.clip}, ${row.copy}`,
      `${row.ours.frames.ms} ms`,
      times(row.timesPyav),
      times(row.timesOpencvSeek),
      `${row.framesToFloor}x`,
      `${row.clipsPerSecond}`,
      times(row.timesPeerTraining),
    ].join(' | '),
  );
  return [
    `Decoding 8 uniform frames of a clip, and the official training pixels, on one thread of ${machine.cpu}, ${date}`,
    '(floor: FFmpeg decoding just the frames that must be decoded, converting nothing):',
    '',
    '| clip | 8 frames | speed to PyAV (full decode) | speed to OpenCV (seek) | time to floor | training clips/s | speed to PyAV + OpenCV (training) |',
    '|---|---|---|---|---|---|---|',
    ...body.map((row) => `| ${row} |`),
  ].join('\n');
}

function parityTable() {
  const result = read('parity');
  if (!result) return '';
  return [
    'Against the official implementation (float32, tiny model):',
    '',
    '| what | largest difference | allowed |',
    '|---|---|---|',
    ...result.rows.map(
      ({ what, difference, allowed }) => `| ${what} | ${shortNumber(difference)} | ${shortNumber(allowed)} |`,
    ),
  ].join('\n');
}

export function rewriteReadme() {
  const file = join(root, 'README.md');
  const text = readFileSync(file, 'utf8');
  const figures = [modelTable(), decodeTable(), parityTable()].filter(Boolean).join('\n\n');
  const next = text.replace(
    /(<!-- figures -->\n)[\s\S]*?(<!-- \/figures -->)/,
    (_, open, close) => `${open}${figures}\n${close}`,
  );
  if (next !== text) writeFileSync(file, next);
}

if (process.argv[1]?.endsWith('readme.mjs')) rewriteReadme();
