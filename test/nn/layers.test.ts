import { memory } from '../../lib/native/device';
import { Embedding } from '../../lib/nn/embedding';
import {
  constant,
  type Distribution,
  fanInUniform,
  Initializer,
  normal,
  uniform,
  xavierUniform,
} from '../../lib/nn/init';
import { LayerNorm } from '../../lib/nn/layer_norm';
import { Linear } from '../../lib/nn/linear';
import { MultiheadAttention } from '../../lib/nn/multihead_attention';
import { ResidualAttentionBlock } from '../../lib/nn/transformer';
import { gatherRows, randomNormal, sum } from '../../lib/ops';
import { backward } from '../../lib/tensor/autograd';
import { keep, scope } from '../../lib/tensor/scope';
import { type Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';
import { expectClose } from '../support/check_op';

const init = (seed = 3) => new Initializer({ seed, device: 'auto' });
const random = (shape: number[], stream = 0) => randomNormal(shape, { seed: 9, stream, device: 'auto' });
const data = async (x: Tensor) => toNumbers(x.dtype, await x.data());

test.each<[string, Distribution, number[], { std: number; largest?: number }]>([
  ['normal', normal(0.02), [200, 300], { std: 0.02 }],
  ['uniform', uniform(0.3), [200, 300], { std: 0.3 / Math.sqrt(3), largest: 0.3 }],
  ['xavier', xavierUniform, [300, 100], { std: Math.sqrt(2 / 400), largest: Math.sqrt(6 / 400) }],
  ['fan in', fanInUniform, [64, 3, 8, 8], { std: 1 / Math.sqrt(3 * 192), largest: 1 / Math.sqrt(192) }],
])('%s values spread as they should around 0', async (_, distribution, shape, expected) => {
  const parameter = init().weight(shape, distribution);
  const values = await data(parameter);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const std = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
  expect(Math.abs(mean)).toBeLessThan((4 * expected.std) / Math.sqrt(values.length));
  expect(Math.abs(std / expected.std - 1)).toBeLessThan(0.02);
  if (expected.largest) {
    const largest = Math.max(...values.map(Math.abs));
    expect(largest).toBeLessThanOrEqual(expected.largest);
    expect(largest).toBeGreaterThan(0.99 * expected.largest);
  }
  parameter.dispose();
});

test('layers start as those of torch', async () => {
  const [embedding, linear] = [new Embedding(200, 50, init()), new Linear(100, 400, init())];
  const values = await data(embedding.weight);
  expect(values.reduce((sum, x) => sum + x * x, 0) / values.length).toBeCloseTo(1, 1);
  for (const parameter of [linear.weight, linear.bias!]) {
    const largest = Math.max(...(await data(parameter)).map(Math.abs));
    expect(largest).toBeLessThanOrEqual(1 / Math.sqrt(100));
    expect(largest).toBeGreaterThan(0.95 / Math.sqrt(100));
  }
  for (const layer of [embedding, linear]) layer.dispose();
});

test('an initializer makes weights in its dtype and vectors in float32', async () => {
  const half = new Initializer({ device: 'auto', weightDtype: 'bfloat16' });
  const layer = new Linear(4, 2, half);
  expect([layer.weight.dtype, layer.bias!.dtype]).toEqual(['bfloat16', 'float32']);
  expect(layer.weight.requiresGrad).toBe(true);
  const filled = half.vector([2, 2], constant(3));
  expect(await filled.toArray()).toEqual([
    [3, 3],
    [3, 3],
  ]);
  layer.dispose();
  filled.dispose();
});

test('embedding looks rows up', async () => {
  const layer = new Embedding(5, 3, init());
  const y = layer.forward(tensor(new Int32Array([4, 0]), [1, 2]));
  const table = (await layer.weight.toArray()) as number[][];
  expect(await y.toArray()).toEqual([[table[4], table[0]]]);
  layer.dispose();
});

test('layer norm starts as plain normalisation', async () => {
  const layer = new LayerNorm(4, init());
  const y = layer.forward(tensor([[1, 2, 3, 4]]));
  expectClose('norm', await data(y), [-1.3416, -0.4472, 0.4472, 1.3416], 1e-4);
  layer.dispose();
});

/** Attention with plain loops. */
async function attentionReference(layer: MultiheadAttention, x: number[][], causal: boolean) {
  const width = x[0]!.length;
  const [weight, bias, outWeight, outBias] = await Promise.all(
    [layer.in_proj_weight, layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias!].map(data),
  );
  const product = (w: number[], b: number[], row: number[], out: number) =>
    row.reduce((total, value, i) => total + value * w[out * width + i]!, b[out]!);
  const qkv = x.map((row) => Array.from({ length: 3 * width }, (_, o) => product(weight!, bias!, row, o)));
  const size = width / layer.heads;
  const mixed = qkv.map((query, i) =>
    Array.from({ length: width }, (_, c) => {
      const first = Math.floor(c / size) * size;
      const scores = qkv.map((key, j) => {
        let score = 0;
        for (let d = first; d < first + size; d++) score += query[d]! * key[width + d]!;
        return causal && j > i ? 0 : Math.exp(score / Math.sqrt(size));
      });
      const all = scores.reduce((a, b) => a + b, 0);
      return scores.reduce((value, p, j) => value + (p / all) * qkv[j]![2 * width + c]!, 0);
    }),
  );
  return mixed.flatMap((row) =>
    Array.from({ length: width }, (_, o) => product(outWeight!, outBias!, row, o)),
  );
}

test.each([false, true])('multi-head attention is what its definition says, causal: %s', async (causal) => {
  const layer = new MultiheadAttention(8, 2, init());
  const x = random([1, 5, 8]);
  const rows = ((await x.toArray()) as number[][][])[0]!;
  const expected = await attentionReference(layer, rows, causal);
  const y = layer.forward(x, { causal });
  expectClose('attention', await data(y), expected, 1e-5);
  const few = layer.forward(x, { causal, queries: 2, residual: random([1, 2, 8], 1) });
  const residual = await data(random([1, 2, 8], 1));
  expectClose(
    'queries',
    await data(few),
    expected.slice(0, 16).map((v, i) => v + residual[i]!),
    1e-5,
  );
  layer.dispose();
});

test('a block that selects rows computes those of the whole block, gradients included', async () => {
  const block = new ResidualAttentionBlock(64, 1, init());
  const index = tensor(new Int32Array([2, 0]), [2]);
  const run = async (early: boolean) => {
    const x = keep(random([2, 3, 64]));
    x.requiresGrad = true;
    const select = (rows: Tensor) => gatherRows(rows, index);
    const y = early
      ? block.forward(x, { causal: true, select })
      : scope(() => select(block.forward(x, { causal: true })));
    const loss = scope(() => sum(y));
    backward(loss);
    const values = [await data(y), await data(x.grad!), await data(block.mlp.c_fc.weight.grad!)];
    for (const parameter of block.parameters()) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
    for (const t of [x, y, loss]) t.dispose();
    return values;
  };
  const before = memory().liveTensors;
  const [late, early] = [await run(false), await run(true)];
  late.forEach((values, i) => {
    expectClose(`part ${i}`, early[i]!, values, 2e-5);
  });
  expect(memory().liveTensors).toBe(before);
  block.dispose();
  index.dispose();
});
