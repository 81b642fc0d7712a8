// The suites of `npm run bench -- --device cuda`, by bench/run.mjs: kernels, each alone (cuda_bench); model, whole steps;
// bars, what the project has promised of both. Where --python has a PyTorch that sees the card it is measured in turn with
// ours. Results are <device>-<date>-kernels.json, -model.json and -bars.json, or --slug instead of device and date; they are
// written as they come, since a time limit may end a run.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { judge, table } from './bars.mjs';
import { root, saveResult, slug } from './machine.mjs';

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

/**
 * What the names of results begin with: `NVIDIA H200` on the 3rd of May becomes `nvidia-h200-2027-05-03`. scripts/gpu-check.sh
 * says it once for all, since the day may end and nvidia-smi may call the card otherwise.
 */
const slugOf = (options, card) =>
  options.slug ?? `${slug(card.device)}-${new Date().toISOString().slice(0, 10)}`;

const resultFile = ({ out }, name) => join(out ?? resultFolder, `${name}.json`);
const written = (file) => statSync(file).mtimeMs;

/** How many times faster, or larger, unrounded since bars judge it; null where either is missing. */
const ratio = (theirs, own) => (theirs && own ? theirs / own : null);

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

/** The device by cuda_bench; where that is not built, as models need it not, the name that --card has. */
const deviceOf = (options) =>
  options.card && !existsSync(options.program)
    ? { device: options.card, scale: options.scale }
    : linesOf(bench(options, ['device']))[0];

/** What things may take, in milliseconds: asking for PyTorch, a model of ours, of PyTorch's, and one that it compiles. */
const limits = { check: 60_000, ours: 120_000, torch: 120_000, compiled: 150_000 };

/** Whether PyTorch can be measured too; says so when it cannot. DEVICE=cpu in the environment rehearses that. */
function hasPeer({ python }) {
  const check = process.env.DEVICE === 'cpu' ? 'import torch' : 'import torch; torch.zeros(1, device="cuda")';
  const { status, stderr, error } = spawnSync(python, ['-c', check], {
    encoding: 'utf8',
    timeout: limits.check,
    killSignal: 'SIGKILL',
  });
  if (status !== 0) {
    const why = error?.message ?? stderr.trim().split('\n').at(-1);
    console.error(`bench: ${python} has no PyTorch that sees the card, so ours is measured alone\n  ${why}`);
  }
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
    console.log(saveResult(`${slugOf(options, device)}-kernels`, result, options.out));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

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

/** PyTorch's measurement in one way: as it is, or by torch.compile in a mode. */
function torch({ python, brief }, [mode, arch, frames, batch, repeats], way) {
  const args = [mode, arch, frames, batch, '400', repeats, way];
  const { stdout } = spawnSync(python, [join(root, 'bench/cuda/torch_model.py'), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: way === 'eager' ? limits.torch : (brief ? 1 : 2) * limits.compiled,
    killSignal: 'SIGKILL',
  });
  return linesOf(stdout)[0] ?? { way, error: 'it ended without a result' };
}

const faster = (a, b) => (a?.seconds && !(b.seconds < a.seconds) ? a : b);

/** Ours beside PyTorch's, as far as both are measured. */
function compare(row) {
  row.speedup = ratio(row.torch?.seconds, row.ours.seconds);
  row.speedupCompiled = ratio(row.compiled?.seconds, row.ours.seconds);
  row.memory = ratio(row.ours.peakDeviceMb, row.torch?.peakDeviceMb);
  row.memoryReserved = ratio(row.ours.reservedDeviceMb, row.torch?.reservedDeviceMb);
}

/**
 * Whole steps: recorded, beside PyTorch as it is; then PyTorch compiled, which may run out of time; then what recording and
 * overlapping grids gain: one launch after the other, and recorded with grids kept apart. The better of two rounds counts:
 * ours are two processes around PyTorch's, which makes its two in one.
 */
export function model(options) {
  const device = deviceOf(options);
  const peer = hasPeer(options);
  const chosen =
    options.scale === 'full' ? [...cases.bars, ...(options.brief ? [] : cases.more)] : cases.tiny;
  const rows = [];
  const name = `${slugOf(options, device)}-model`;
  const earlier = existsSync(resultFile(options, name)); // of this day: not lost to a run in which nothing works
  const save = (row) => {
    if (!earlier || rows.some(({ ours }) => ours.seconds)) saveResult(name, { device, rows }, options.out);
    if (row) console.log(JSON.stringify(row));
  };
  for (const args of chosen) {
    const row = { ours: ours(args, 'graph') };
    rows.push(row);
    save();
    if (peer) {
      row.torch = torch(options, args, 'eager');
      save();
      row.ours = faster(row.ours, ours(args, 'graph'));
      compare(row);
    }
    save(row);
  }
  // Mode reduce-overhead replays graphs as we do; compiling once more takes a minute.
  const modes = !peer ? [] : ['default', ...(options.brief ? [] : ['reduce-overhead'])];
  for (const mode of modes) {
    for (const [i, args] of chosen.entries()) {
      rows[i].compiled = faster(rows[i].compiled, torch(options, args, mode));
      compare(rows[i]);
      save(rows[i]);
    }
  }
  for (const [i, args] of chosen.entries()) {
    rows[i].eager = ours(args, 'eager');
    rows[i].apart = ours(args, 'graph', { NATIVE_CUDA_OVERLAP: '0' });
    save({ ...rows[i].ours, eager: rows[i].eager.seconds, apart: rows[i].apart.seconds });
  }
  console.log(resultFile(options, name));
}

/** Each promise, what was measured of it, and whether it is kept. */
export function bars(options) {
  const known = options.slug ? null : deviceOf(options);
  const read = (suite) => {
    const file = resultFile(options, `${slugOf(options, known)}-${suite}`);
    // With the l, what scripts/gpu-check.sh leaves of cuda_bench where there is no PyTorch, or none yet: the newer counts.
    const [newest] = [file, `${file}l`]
      .filter((path) => existsSync(path))
      .sort((a, b) => written(b) - written(a));
    if (!newest) return null;
    const text = readFileSync(newest, 'utf8');
    if (newest === file) return JSON.parse(text);
    const [device, ...rows] = linesOf(text);
    return { device, rows };
  };
  const results = { kernels: read('kernels'), model: read('model') };
  const device = results.kernels?.device ?? results.model?.device ?? deviceOf(options);
  const cut = Object.values(results).find((result) => result && result.device.scale !== 'full');
  if (cut) console.log(`scale ${cut.device.scale}: this shows that everything runs, and nothing about time`);
  if (!/H200/.test(device.device)) console.log(`bars are for an H200, and this is another: ${device.device}`);
  const judged = judge(results);
  console.log(table(judged));
  console.log(saveResult(`${slugOf(options, device)}-bars`, { device, bars: judged }, options.out));
}
