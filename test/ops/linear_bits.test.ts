// Bits of linear layers by the kernels of one instruction set, which a process of its own chooses: the same on any number
// of threads, and whether the kernel finds a weight in the order that it reads or not.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

const processor = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
const sets = [
  ['AVX512_CORE', 'avx512bw'],
  ['AVX2', 'avx2'],
] as const;

// A block alone; panels, rows and columns left over; Strassen's quarters in one and in several blocks of depth, strips of
// rows and columns; few rows. Gradients of weights are sums over rows, and those of odd numbers of rows oneDNN's.
const sizes = [
  [16, 32, 32],
  [144, 416, 448],
  [256, 256, 256],
  [416, 1600, 832],
  [832, 1664, 1792],
  [48, 96, 160],
  [13, 768, 100],
];

const script = `
const op = require(process.argv[1]);
const make = (shape, stream) => op.randomUniform(shape, -1, 1, 1, stream, 'cpu');
const bytes = async (x) => Buffer.from(await op.read(x)).toString('base64');
const threadCounts = [1, 2, 3, 5];
(async () => {
  const results = [];
  for (const [rows, inputs, out] of JSON.parse(process.argv[2])) {
    const [x, dy, residual] = [make([rows, inputs], 1), make([rows, out], 2), make([rows, out], 3)];
    const weight = make([out, inputs], 4);
    const seen = { forward: new Set(), packed: 0, backward: new Set() };
    op.setProfiling('cpu', true);
    for (const threads of threadCounts) {
      op.setThreads(threads);
      seen.forward.add(await bytes(op.linearForward(x, weight, null, residual, 'none', false)[0]));
    }
    for (const [name, calls] of op.takeProfile('cpu')) if (name === 'pack_weight') seen.packed = calls;
    for (const threads of rows % 16 === 0 ? threadCounts : []) {
      op.setThreads(threads);
      const sum = op.cast(make([out, inputs], 5), 'float32');
      op.linearBackwardWeight(dy, x, sum, false, null);
      const made = [op.linearBackwardInput(dy, weight, null), sum, ...op.linearBackwardWeight(dy, x, null, true, null)];
      seen.backward.add((await Promise.all(made.map(bytes))).join());
    }
    results.push([seen.forward.size, seen.backward.size, seen.packed]);
  }
  process.stdout.write(JSON.stringify(results));
})();`;

for (const [isa, flag] of sets) {
  (processor.includes(flag) ? test : test.skip)(`with ${isa}`, () => {
    const addon = process.env.NATIVE_COMPUTE_PATH ?? join(packageRoot(), 'build/Release/compute.node');
    const results = execFileSync(process.execPath, ['-e', script, addon, JSON.stringify(sizes)], {
      encoding: 'utf8',
      env: { ...process.env, ONEDNN_MAX_CPU_ISA: isa },
    });
    // Weights that few rows are multiplied by stay as they are.
    expect(JSON.parse(results)).toEqual(sizes.map(([rows]) => (rows! < 16 ? [1, 0, 0] : [1, 1, 1])));
  });
}
