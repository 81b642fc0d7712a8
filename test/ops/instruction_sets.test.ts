import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';
import { expectClose } from '../support/check_op';

// The addon picks its kernels once per process, so each instruction set gets a process of its own. The inputs are large
// enough for whole and partial blocks.
const script = `
const native = require(process.argv[1]);
const random = (shape, seed) => {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: size }, (_, i) => Math.sin(seed + i * 12.9898));
  return native.tensorFromHost(data, shape, 'float32', 'cpu');
};
const numbers = async (x) => Array.from(new Float32Array(await native.read(native.cast(x, 'float32'))));
(async () => {
  const result = {};
  for (const dtype of ['float32', 'bfloat16']) {
    const make = (shape, seed) => native.cast(random(shape, seed), dtype);
    const [x, weight, residual] = [make([37, 45], 1), make([70, 45], 2), make([37, 70], 3)];
    const [y] = native.linearForward(x, weight, random([70], 4), residual, 'quick_gelu', false);
    result[dtype + ' linear'] = await numbers(y);
    const into = random([70, 45], 5);
    native.linearBackwardWeight(residual, x, into);
    result[dtype + ' weight gradient'] = await numbers(into);
    const product = native.matmulForward(make([3, 20, 9], 6), make([3, 20, 33], 7), true, false, 0.5, true);
    result[dtype + ' matmul'] = await numbers(product);
    const qkv = make([2, 29, 3 * 52], 8);
    const [out, logSum] = native.selfAttentionForward(qkv, 2, 28, false);
    result[dtype + ' attention'] = await numbers(out);
    const dqkv = native.selfAttentionBackward(make([2, 28, 52], 9), qkv, logSum, 2, 28, false);
    result[dtype + ' attention gradient'] = await numbers(dqkv);
  }
  process.stdout.write(JSON.stringify(result));
})();
`;

function resultsWith(isa: string): Record<string, number[]> {
  const addon = process.env.NATIVE_COMPUTE_PATH ?? join(packageRoot(), 'build/Release/compute.node');
  const env = { ...process.env, ONEDNN_MAX_CPU_ISA: isa };
  return JSON.parse(execFileSync(process.execPath, ['-e', script, addon], { env, encoding: 'utf8' }));
}

const best = resultsWith('ALL');

test.each(['AVX2', 'SSE41'])('kernels for %s agree with those of this machine', (isa) => {
  const results = resultsWith(isa);
  expect(Object.keys(results)).toHaveLength(10);
  for (const [name, values] of Object.entries(results)) {
    const largest = Math.max(...best[name]!.map(Math.abs));
    // One rounding of the result apart in bfloat16; another order of summation in float32.
    const unit = name.startsWith('bfloat16') ? 2 ** -7 : 2 ** -19;
    expectClose(name, values, best[name]!, unit * largest);
  }
});
