// npm run bench [-- SUITE ...] [--device cpu|cuda] [--peers FOLDER --python FILE] [--clips FOLDER] [--isa avx2]
//
// Suites: parity, how far from the official implementation; model, speed and memory; data, speed of decoding and of the
// training pipeline; with --device cuda: kernels, each alone (cuda_bench, which needs no Node), model, and bars, what of
// them was promised. All when none is named. Results go to bench/results/*.json (models' are named after the processor,
// those of a card after it and the day) and the tables in README.md are rewritten from them. With --peers, each measurement alternates with the same
// one made by PyTorch, or by PyAV and OpenCV, and the ratio is kept beside it; on a card it takes no more than a --python
// with PyTorch. Decoding is measured on the videos of --clips, or on one that is drawn. --isa avx2 has models, and PyTorch,
// do without newer instructions, as on most computers that are not servers; in float32 alone, for which both have kernels.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bars, kernels, model } from './cuda.mjs';
import { median, processorSlug, ratio, root, saveResult } from './machine.mjs';
import { rewriteReadme } from './readme.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    clips: { type: 'string' },
    isa: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    // With --device cuda only:
    brief: { type: 'boolean' }, // no more models than have a bar
    out: { type: 'string' }, // the folder of the results
    slug: { type: 'string' }, // what their names begin with, instead of the device's name and the day
    program: { type: 'string' }, // cuda_bench, instead of building it
    card: { type: 'string' }, // the device's name, for models where there is no cuda_bench
    scale: { type: 'string', default: 'full' }, // quick or tiny show that everything runs
  },
});

/**
 * On the CPU each measurement is run `pairs` times (odd), in turn with PyTorch's: a busy moment then meets a pair, not a
 * side. The shorter a run, the more a moment weighs, and the more of them there are.
 */
const cpuCases = [
  { pairs: 15, args: ['infer', 'b32', '8', '1', 'fp32', '400', '9'] },
  { pairs: 7, args: ['infer', 'b32', '8', '1', 'bf16', '400', '9'] },
  { pairs: 5, args: ['infer', 'b16', '8', '1', 'fp32', '400', '5'] },
  { pairs: 5, args: ['infer', 'b16', '8', '1', 'bf16', '400', '5'] },
  { pairs: 3, args: ['train', 'b32', '8', '4', 'fp32', '400', '3'] },
  { pairs: 3, args: ['train', 'b32', '8', '4', 'bf16', '400', '3'] },
];

/**
 * Has glibc keep what a process frees. PyTorch on the CPU gives its tensors back to the system with every step and gets
 * new pages for the next; where these are dear, as in virtual machines whose host takes back what is free, it would be
 * the host that is measured. Our own allocator keeps them anyhow.
 */
const keepsMemory = {
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: String(2 ** 40),
  MALLOC_TOP_PAD_: String(2 ** 28),
};

const lastLine = (text) => JSON.parse(text.trim().split('\n').at(-1));
const measured = (program, args) =>
  lastLine(
    execFileSync(program, args, {
      encoding: 'utf8',
      stdio: 'pipe', // what it says on stderr is shown if it fails
      env: { ...process.env, ...keepsMemory },
    }),
  );
const ours = (args) => measured(process.execPath, [join(root, 'bench/model.mjs'), ...args]);
const peer = (args) => measured(values.python, [join(values.peers, 'torch_xclip.py'), ...args]);

/** Of an odd number of runs, that of the median time. */
const medianRun = (runs) => [...runs].sort((a, b) => a.seconds - b.seconds)[(runs.length - 1) / 2];

function alternate({ pairs: count, args }) {
  const pairs = Array.from({ length: count }, () => ({ ours: ours(args), torch: peer(args) }));
  const speedups = pairs.map((pair) => ratio(pair.torch.seconds, pair.ours.seconds));
  const row = {
    ours: medianRun(pairs.map((pair) => pair.ours)),
    torch: medianRun(pairs.map((pair) => pair.torch)),
  };
  return {
    ...row,
    speedup: median(speedups), // not rounded further: to a bar that would be rounding up
    speedups, // of each pair, in order
    memory: Number((row.ours.peakRssMb / row.torch.peak_rss_mb).toFixed(2)),
  };
}

function cpuModel() {
  const rows = [];
  for (const measurement of values.isa ? cpuCases.filter(({ args }) => args.includes('fp32')) : cpuCases) {
    rows.push(values.peers ? alternate(measurement) : { ours: ours(measurement.args) });
    console.log(JSON.stringify(rows.at(-1)));
  }
  const name = [`model-cpu-${processorSlug()}`, ...(values.isa ? [values.isa] : [])].join('-');
  console.log(saveResult(name, { isa: values.isa, keepsMemory: true, rows }));
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
if (values.isa !== undefined && values.isa !== 'avx2') {
  console.error(`--isa ${values.isa}: avx2 is the one that PyTorch and its libraries can all be held to`);
  process.exit(1);
}
if (values.isa) {
  Object.assign(process.env, {
    ONEDNN_MAX_CPU_ISA: 'AVX2',
    MKL_ENABLE_INSTRUCTIONS: 'AVX2',
    ATEN_CPU_CAPABILITY: 'avx2',
  });
}
const devices = { cpu: { parity, model: cpuModel, data }, cuda: { kernels, model, bars } };
const refuse = (what, name, known) => {
  console.error(`unknown ${what} '${name}'; one of ${Object.keys(known).join(', ')}`);
  process.exit(1);
};
const suites = devices[values.device] ?? refuse('device', values.device, devices);
for (const name of positionals) if (!(name in suites)) refuse('suite', name, suites);
for (const name of positionals.length > 0 ? positionals : Object.keys(suites)) suites[name](values);
if (values.device === 'cpu') rewriteReadme();
