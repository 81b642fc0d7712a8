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
// Without the regularity of sines, whose long sums cancel: there the order of summation would be all one sees.
const spread = (shape, seed) => {
  let state = seed;
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647 - 0.5;
  });
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
    native.linearBackwardWeight(residual, x, into, false, null);
    result[dtype + ' weight gradient'] = await numbers(into);
    // Sizes that are cut into blocks in every direction, with a last tile of rows that is not full.
    const large = (shape, seed) => native.cast(spread(shape, seed), dtype);
    const [wideX, wideWeight] = [large([37, 288], 10), large([448, 288], 11)];
    const bias = spread([448], 12);
    const dy = large([37, 448], 13);
    const [activated, slope] = native.linearForward(wideX, wideWeight, bias, dy, 'quick_gelu', true);
    result[dtype + ' blocked'] = await numbers(activated);
    result[dtype + ' blocked slope'] = await numbers(slope);
    const [added] = native.linearForward(wideX, wideWeight, null, dy, 'none', false);
    result[dtype + ' blocked residual'] = await numbers(added);
    const [fused] = native.linearForward(wideX, wideWeight, bias, null, 'quick_gelu', false);
    result[dtype + ' blocked activation'] = await numbers(fused);
    result[dtype + ' blocked input gradient'] = await numbers(native.linearBackwardInput(dy, wideWeight, null));
    // The result times a slope, and the gradient of a bias beside the weight's.
    const sloped = native.linearBackwardInput(dy, wideWeight, large([37, 288], 17));
    result[dtype + ' blocked input gradient with slope'] = await numbers(sloped);
    const [, dbias] = native.linearBackwardWeight(dy, wideX, null, true, null);
    result[dtype + ' bias gradient'] = await numbers(dbias);
    const [tallX, tallDy] = [large([320, 416], 14), large([320, 37], 15)];
    const sum = spread([37, 416], 16);
    const biasSum = spread([37], 20);
    native.linearBackwardWeight(tallDy, tallX, sum, true, biasSum);
    result[dtype + ' blocked weight gradient'] = await numbers(sum);
    result[dtype + ' accumulated bias gradient'] = await numbers(biasSum);
    const product = native.matmulForward(make([3, 20, 9], 6), make([3, 20, 33], 7), true, false, 0.5, true);
    result[dtype + ' matmul'] = await numbers(product);
    const batched = native.matmulForward(make([3, 20, 9], 21), make([3, 33, 9], 22), false, true, 1, false);
    result[dtype + ' batched matmul'] = await numbers(batched);
    const shared = native.matmulForward(make([3, 9, 20], 23), make([9, 33], 24), true, false, 1, false);
    result[dtype + ' shared matmul'] = await numbers(shared);
    const qkv = make([2, 29, 3 * 52], 8);
    const [out, logSum] = native.selfAttentionForward(qkv, 2, 28, false);
    result[dtype + ' attention'] = await numbers(out);
    const whole = make([2, 29, 3 * 64], 18);
    const [seen, seenSum] = native.selfAttentionForward(whole, 2, 28, true);
    result[dtype + ' attention in place'] = await numbers(seen);
    const dwhole = native.selfAttentionBackward(make([2, 28, 64], 19), whole, seen, seenSum, 2, 28, true);
    result[dtype + ' attention gradient in place'] = await numbers(dwhole);
    const dqkv = native.selfAttentionBackward(make([2, 28, 52], 9), qkv, out, logSum, 2, 28, false);
    result[dtype + ' attention gradient'] = await numbers(dqkv);
  }
  process.stdout.write(JSON.stringify(result));
})();
`;

function resultsWith(isa: string): Record<string, number[]> {
  const addon = process.env.NATIVE_COMPUTE_PATH ?? join(packageRoot(), 'build/Release/compute.node');
  const env = { ...process.env, ONEDNN_MAX_CPU_ISA: isa };
  return JSON.parse(
    execFileSync(process.execPath, ['-e', script, addon], { env, encoding: 'utf8', maxBuffer: 2 ** 26 }),
  );
}

const best = resultsWith('ALL');

test.each(['AVX512_CORE', 'AVX2', 'SSE41'])('kernels for %s agree with those of this machine', (isa) => {
  const results = resultsWith(isa);
  expect(Object.keys(results)).toHaveLength(36);
  for (const [name, values] of Object.entries(results)) {
    const largest = Math.max(...best[name]!.map(Math.abs));
    // One rounding of the result apart in bfloat16; another order of summation in float32.
    const unit = name.startsWith('bfloat16') ? 2 ** -7 : 2 ** -19;
    expectClose(name, values, best[name]!, unit * largest);
  }
});
