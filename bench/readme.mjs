// Rewrites the figures in README.md from bench/results/*.json, between the two markers.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, shortNumber } from './machine.mjs';

const results = join(root, 'bench/results');
const read = (name) => {
  const file = join(results, `${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
};

/** A table for each processor that models were measured on. */
function modelTables() {
  return readdirSync(results)
    .filter((file) => /^model-cpu-.*\.json$/.test(file))
    .sort()
    .map((file) => modelTable(read(file.replace('.json', ''))));
}

function modelTable({ machine, date, isa, keepsMemory, rows }) {
  const names = { b32: 'B/32', b16: 'B/16', l14: 'L/14' };
  const pairs = rows.flatMap(({ speedups }) => speedups?.length ?? []);
  const how =
    pairs.length > 0
      ? `; medians of ${Math.min(...pairs)} to ${Math.max(...pairs)} pairs of runs in turn (least to most)`
      : '';
  const kept = keepsMemory ? '; both keep the memory that they free' : ''; // older results say nothing of it
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
    `${machine.cores} cores of ${machine.cpu} (${isa ? `both held to ${isa}` : machine.vectors}), ${date}; 400 classes, cached text features${how}${kept}:`,
    '',
    '| work | xclip-native | PyTorch | speed | peak memory |',
    '|---|---|---|---|---|',
    ...body.map((row) => `| ${row} |`),
  ].join('\n');
}

/** A median with the least and the most of the rounds behind it. */
const withRange = ({ median, rounds }, unit) =>
  `${median}${unit} (${Math.min(...rounds)} to ${Math.max(...rounds)})`;

function decodeTable() {
  const result = read('data');
  if (!result) return '';
  const { machine, date, rounds, rows } = result;
  const times = (value) => (value === undefined ? '–' : withRange(value, 'x'));
  const body = rows.map((row) =>
    [
      `${row.of}, ${row.copy}`,
      withRange(row.framesMs, ' ms'),
      times(row.timesPyav),
      times(row.timesOpencvSeek),
      times(row.framesToFloor),
      withRange(row.clipsPerSecond, ''),
      times(row.timesPeerTraining),
      times(row.allCores),
    ].join(' | '),
  );
  return [
    `Decoding 8 uniform frames of a clip, and the official training pixels, on one thread of ${machine.cpu}, ${date}; medians`,
    `of ${rounds} rounds in turn (least to most). Floor: FFmpeg decoding just the frames that must be decoded, converting`,
    `nothing. All cores: every frame, to as many \`ffmpeg -threads 1\` processes as there are cores (${machine.cores}):`,
    '',
    '| clip | 8 frames | speed to PyAV (full decode) | speed to OpenCV (seek) | time to floor | training clips/s | speed to PyAV + OpenCV (training) | all cores, speed to ffmpeg |',
    '|---|---|---|---|---|---|---|---|',
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
  const figures = [...modelTables(), decodeTable(), parityTable()].filter(Boolean).join('\n\n');
  const next = text.replace(
    /(<!-- figures -->\n)[\s\S]*?(<!-- \/figures -->)/,
    (_, open, close) => `${open}${figures}\n${close}`,
  );
  if (next !== text) writeFileSync(file, next);
}

if (process.argv[1]?.endsWith('readme.mjs')) rewriteReadme();
