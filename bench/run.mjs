// npm run bench [-- SUITE ...] [--device cpu|cuda] [--peers FOLDER --python FILE] [--clips FOLDER]
//
// Suites: parity, how far from the official implementation; model, speed and memory; data, speed of decoding and of the
// training pipeline; with --device cuda: kernels, each alone (cuda_bench, which needs no Node), and model. All when none
// is named. Results go to bench/results/*.json (those of a card are named after it and the day) and the tables in
// README.md are rewritten from them. With --peers, each measurement alternates with the same one made by PyTorch, or by
// PyAV and OpenCV, and the ratio is kept beside it. Decoding is measured on the videos of --clips, or on one that is
// drawn.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, saveResult } from './machine.mjs';
import { rewriteReadme } from './readme.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    clips: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
  },
});

const cpuCases = [
  ['infer', 'b32', '8', '1', 'fp32', '400', '9'],
  ['infer', 'b32', '8', '1', 'bf16', '400', '9'],
  ['infer', 'b16', '8', '1', 'fp32', '400', '5'],
  ['infer', 'b16', '8', '1', 'bf16', '400', '5'],
  ['train', 'b32', '8', '4', 'fp32', '400', '3'],
  ['train', 'b32', '8', '4', 'bf16', '400', '3'],
];

// The official micro-batches and those that fill a large card.
const cudaCases = [
  ['infer', 'b32', '8', '1', 'bf16', '400', '50'],
  ['infer', 'b16', '8', '1', 'bf16', '400', '50'],
  ['infer', 'b16', '8', '32', 'bf16', '400', '20'],
  ['infer', 'l14', '8', '16', 'bf16', '400', '20'],
  ['train', 'b32', '8', '64', 'bf16', '400', '20'],
  ['train', 'b16', '8', '8', 'bf16', '400', '20'],
  ['train', 'b16', '8', '32', 'bf16', '400', '20'],
  ['train', 'l14', '8', '16', 'bf16', '400', '10'],
];

const lastLine = (text) => JSON.parse(text.trim().split('\n').at(-1));
const ours = (args) =>
  lastLine(execFileSync(process.execPath, [join(root, 'bench/model.mjs'), ...args], { encoding: 'utf8' }));
const peer = (args, env = {}) =>
  lastLine(
    execFileSync(values.python, [join(values.peers, 'torch_xclip.py'), ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, ...env },
    }),
  );
const ratio = (theirs, own) => Number((theirs / own).toFixed(3));

function cpuModel() {
  const rows = [];
  for (const args of cpuCases) {
    const row = { ours: ours(args) };
    if (values.peers) {
      row.torch = peer(args);
      // Once more in the other order: the better of two is kept on both sides, so a busy moment does not decide.
      const again = { torch: peer(args), ours: ours(args) };
      for (const side of ['ours', 'torch'])
        if (again[side].seconds < row[side].seconds) row[side] = again[side];
      row.speedup = Number((row.torch.seconds / row.ours.seconds).toFixed(2));
      row.memory = Number((row.ours.peakRssMb / row.torch.peak_rss_mb).toFixed(2));
    }
    console.log(JSON.stringify(row));
    rows.push(row);
  }
  console.log(saveResult('model-cpu', { rows }));
}

/** What kernels of the CUDA backend take alone, and beside them PyTorch's. */
function kernels() {
  const program = join(root, 'build/gpu/cuda_bench');
  if (!existsSync(program)) {
    console.error(
      `kernels: ${program} is missing; build it with: cmake -S cuda -B build/gpu && cmake --build build/gpu`,
    );
    process.exit(1);
  }
  const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  // Twice, with PyTorch's turn in between; the better time of two counts on both sides.
  const measured = ['first.jsonl', 'second.jsonl'].map((name) => {
    const file = join(folder, name);
    writeFileSync(file, execFileSync(program, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
    return file;
  });
  const lines = readFileSync(measured[0], 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  let result = { device: lines[0], rows: lines.slice(1) };
  if (values.peers) {
    const both = join(folder, 'both.json');
    const { status } = spawnSync(values.python, [join(root, 'bench/cuda/torch_ops.py'), ...measured, both], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exit(1);
    result = JSON.parse(readFileSync(both, 'utf8'));
  }
  console.log(saveResult(`${slugOf(result.device.device)}-kernels`, result));
}

/** `NVIDIA H200` on the 3rd of May becomes `nvidia-h200-2027-05-03`. */
const slugOf = (device) =>
  `${device.toLowerCase().replace(/[^a-z0-9]+/g, '-')}-${new Date().toISOString().slice(0, 10)}`;

function cudaModel() {
  const { device } = lastLine(
    execFileSync(join(root, 'build/gpu/cuda_bench'), ['device'], { encoding: 'utf8' }),
  );
  const rows = [];
  for (const args of cudaCases) {
    const row = { ours: ours([...args, 'cuda']) };
    if (values.peers) {
      row.torch = peer(args, { DEVICE: 'cuda' });
      row.compiled = peer(args, { DEVICE: 'cuda', COMPILE: '1' });
      const again = ours([...args, 'cuda']);
      if (again.seconds < row.ours.seconds) row.ours = again;
      row.speedup = ratio(row.torch.seconds, row.ours.seconds);
      row.speedupCompiled = ratio(row.compiled.seconds, row.ours.seconds);
      row.memory = ratio(row.ours.peakDeviceMb, row.torch.peak_device_mb);
    }
    console.log(JSON.stringify(row));
    rows.push(row);
    saveResult(`${slugOf(device)}-model`, { device, rows }); // each time: a time limit may end this
  }
}

function parity() {
  const { status } = spawnSync(process.execPath, [join(root, 'bench/parity.mjs')], { stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

function data() {
  const peer = values.peers ? ['--peer', join(values.peers, 'decode.py'), '--python', values.python] : [];
  const clips = values.clips
    ? readdirSync(values.clips)
        .filter((name) => /\.(?:mp4|mkv|webm|avi|mov)$/.test(name))
        .map((name) => join(values.clips, name))
    : [];
  const { status } = spawnSync(process.execPath, [join(root, 'bench/data.mjs'), ...peer, ...clips], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(1);
}

if (values.peers && !existsSync(join(values.peers, 'torch_xclip.py'))) {
  console.error(`--peers ${values.peers}: no torch_xclip.py there`);
  process.exit(1);
}
const suites = values.device === 'cuda' ? { kernels, model: cudaModel } : { parity, model: cpuModel, data };
for (const name of positionals.length > 0 ? positionals : Object.keys(suites)) {
  if (!(name in suites)) {
    console.error(`unknown suite '${name}'; one of ${Object.keys(suites).join(', ')}`);
    process.exit(1);
  }
  suites[name]();
}
rewriteReadme();
