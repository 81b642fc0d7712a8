// The suites of `npm run bench -- --device cuda`, by bench/run.mjs: kernels, each alone (cuda_bench); model, whole steps;
// bars, what the project has promised of both. Where --python has a PyTorch that sees the card it is measured in turn with
// ours. Results are <device>-<date>-kernels.json, -model.json and -bars.json; they are written as they come, since a time
// limit may end a run.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { judge, table } from './bars.mjs';
import { ratio, root, saveResult, slug } from './machine.mjs';

const resultFolder = join(root, 'bench/results');

/** Arguments of bench/model.mjs up to the classes, and how often a step is repeated. What has a bar comes first. */
const cases = {
  bars: [
    ['train', 'b16', '8', '32', '20'],
    ['infer', 'b16', '8', '32', '20'],
    ['infer', 'b16', '8', '1', '50'],
  ],
  // The official micro-batch, and those that fill a large card.
  more: [
    ['train', 'b16', '8', '8', '20'],
    ['train', 'b32', '8', '64', '20'],
    ['train', 'l14', '8', '16', '10'],
    ['infer', 'b32', '8', '1', '50'],
    ['infer', 'l14', '8', '16', '20'],
  ],
  tiny: [
    ['infer', 'tiny', '2', '1', '1'],
    ['train', 'tiny', '2', '1', '1'],
  ],
};

const linesOf = (text) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));

/** `NVIDIA H200` on the 3rd of May becomes `nvidia-h200-2027-05-03`. */
const slugOf = ({ device }) => `${slug(device)}-${new Date().toISOString().slice(0, 10)}`;

/** The path of cuda_bench, built for this machine's card unless --program names one. */
function program({ program: given }) {
  if (given) return given;
  const folder = join(root, 'build/gpu');
  const run = (command, args) => execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (!existsSync(join(folder, 'CMakeCache.txt'))) {
    const [capability] = execFileSync('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader'], {
      encoding: 'utf8',
    }).split('\n');
    const target = `sm_${capability.replace('.', '')}`;
    run('cmake', [
      '-S',
      join(root, 'cuda'),
      '-B',
      folder,
      `-DCUDA_TARGETS=${target === 'sm_90' ? 'sm_90a' : target}`,
    ]);
  }
  run('cmake', ['--build', folder, '--target', 'cuda_bench', '--parallel']);
  return join(folder, 'cuda_bench');
}

function bench(options, args) {
  const scale = options.scale === 'full' ? [] : [`--${options.scale}`];
  return execFileSync(program(options), [...scale, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
}

const deviceOf = (options) => linesOf(bench(options, ['device']))[0];

/** Whether PyTorch can be measured too; says so when it cannot. DEVICE=cpu in the environment rehearses that. */
function hasPeer({ python }) {
  const check = process.env.DEVICE === 'cpu' ? 'import torch' : 'import torch; torch.zeros(1, device="cuda")';
  const { status } = spawnSync(python, ['-c', check], { stdio: 'ignore' });
  if (status !== 0)
    console.error(`bench: ${python} has no PyTorch that sees the card, so ours is measured alone`);
  return status === 0;
}

/** What kernels take alone, and beside them PyTorch's. */
export function kernels(options) {
  const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  try {
    // Twice; the better time of two counts on both sides.
    const measured = ['first.jsonl', 'second.jsonl'].map((name) => {
      const file = join(folder, name);
      writeFileSync(file, bench(options, []));
      return file;
    });
    const [[device, ...first], [, ...second]] = measured.map((file) => linesOf(readFileSync(file, 'utf8')));
    const better = first.map((row, i) => (second[i].microseconds < row.microseconds ? second[i] : row));
    let result = { device, rows: better };
    if (hasPeer(options)) {
      const both = join(folder, 'both.json');
      const { status } = spawnSync(
        options.python,
        [join(root, 'bench/cuda/torch_ops.py'), ...measured, both],
        { stdio: 'inherit' },
      );
      if (existsSync(both)) result = JSON.parse(readFileSync(both, 'utf8'));
      if (status !== 0) {
        console.error(`bench: torch_ops.py ended with status ${status}; what it measured by then is kept`);
        process.exitCode = 1;
      }
    }
    console.log(saveResult(`${slugOf(device)}-kernels`, result, options.out));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What one measurement of a model may take, in milliseconds; PyTorch's compiles twice or three times. */
const limits = { ours: 120_000, peer: 400_000 };

/** Our measurement, or what kept it from ending: those behind it come nevertheless. */
const ours = ([mode, arch, frames, batch, repeats], execution, env = {}) => {
  const args = [mode, arch, frames, batch, 'bf16', '400', repeats, 'cuda', execution];
  const { status, signal, stdout } = spawnSync(process.execPath, [join(root, 'bench/model.mjs'), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
    timeout: limits.ours,
    killSignal: 'SIGKILL',
  });
  const [row] = linesOf(stdout);
  if (status === 0 && row) return row;
  const error = signal ? `it was ended by ${signal}` : `it ended with status ${status}`;
  console.error(`bench: model.mjs ${args.join(' ')}: ${error}`);
  process.exitCode = 1;
  return { mode, arch, frames: Number(frames), batch: Number(batch), execution, error };
};

/** PyTorch's measurement in each of these ways, by way. */
function peers(python, [mode, arch, frames, batch, repeats], ways) {
  const { stdout } = spawnSync(
    python,
    [join(root, 'bench/cuda/torch_model.py'), mode, arch, frames, batch, '400', repeats, ...ways],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: limits.peer, killSignal: 'SIGKILL' },
  );
  const rows = linesOf(stdout);
  return Object.fromEntries(
    ways.map((way) => [
      way,
      rows.find((row) => row.way === way) ?? { way, error: 'it ended without a result' },
    ]),
  );
}

const faster = (a, b) => (a?.seconds <= b?.seconds || !b?.seconds ? a : b);

/** Whole steps: recorded, one launch after the other, recorded with grids kept apart; PyTorch as it is and compiled. */
export function model(options) {
  const device = deviceOf(options);
  const peer = hasPeer(options);
  const chosen =
    options.scale === 'full' ? [...cases.bars, ...(options.brief ? [] : cases.more)] : cases.tiny;
  // Mode reduce-overhead replays graphs as we do; compiling once more takes a minute.
  const ways = ['eager', 'default', ...(options.brief ? [] : ['reduce-overhead'])];
  const rows = [];
  const save = () => saveResult(`${slugOf(device)}-model`, { device, rows }, options.out);
  for (const args of chosen) {
    const row = { ours: ours(args, 'graph') };
    rows.push(row);
    save();
    if (peer) {
      const { eager, ...compiled } = peers(options.python, args, ways);
      row.ours = faster(row.ours, ours(args, 'graph'));
      row.torch = eager;
      row.compiled = Object.values(compiled).reduce(faster);
      row.speedup = ratio(eager.seconds, row.ours.seconds);
      row.speedupCompiled = ratio(row.compiled.seconds, row.ours.seconds);
      row.memory = ratio(row.ours.peakDeviceMb, eager.peakDeviceMb);
      row.memoryReserved = ratio(row.ours.reservedDeviceMb, eager.reservedDeviceMb);
    }
    save();
    console.log(JSON.stringify(row));
  }
  // Behind the measurements that have a bar: what recording and overlapping grids gain.
  for (const [i, args] of chosen.entries()) {
    rows[i].eager = ours(args, 'eager');
    rows[i].apart = ours(args, 'graph', { NATIVE_CUDA_OVERLAP: '0' });
    console.log(
      JSON.stringify({ ...rows[i].ours, eager: rows[i].eager.seconds, apart: rows[i].apart.seconds }),
    );
    save();
  }
  console.log(save());
}

/** Each promise, what was measured of it, and whether it is kept. */
export function bars(options) {
  const device = deviceOf(options);
  const read = (name) => {
    const file = join(options.out ?? resultFolder, `${slugOf(device)}-${name}.json`);
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
    if (!existsSync(`${file}l`)) return null;
    // What scripts/gpu-check.sh leaves of cuda_bench where there is no PyTorch, or none yet.
    const [first, ...rows] = linesOf(readFileSync(`${file}l`, 'utf8'));
    return { device: first, rows };
  };
  const results = { kernels: read('kernels'), model: read('model') };
  const cut = Object.values(results).find((result) => result && result.device.scale !== 'full');
  if (cut) console.log(`scale ${cut.device.scale}: this shows that everything runs, and nothing about time`);
  const judged = judge(results);
  console.log(table(judged));
  console.log(saveResult(`${slugOf(device)}-bars`, { device, bars: judged }, options.out));
}
