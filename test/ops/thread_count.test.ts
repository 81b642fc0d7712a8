import { existsSync, readFileSync } from 'node:fs';
import { type DType, type NativeTensor, native } from '../../lib/native/load';

const threadCounts = [1, 2, 3, 4, 7];
afterAll(() => native().setThreads(2));

type Make = (shape: number[], stream: number, dtype?: DType) => NativeTensor;
type Compute = (make: Make) => (NativeTensor | null)[];

/** Whether the results have the same bits on any number of threads. */
async function sameBits(dtype: DType, compute: Compute): Promise<boolean[]> {
  const make: Make = (shape, stream, own = dtype) =>
    native().cast(native().randomUniform(shape, -1, 1, 1, stream, 'cpu'), own);
  const runs: Buffer[][] = [];
  for (const threads of threadCounts) {
    native().setThreads(threads);
    const results = compute(make).filter((result) => result !== null);
    runs.push(await Promise.all(results.map(async (result) => Buffer.from(await native().read(result)))));
  }
  return runs[0]!.map((first, i) => runs.every((run) => run[i]!.equals(first)));
}

const linearOf =
  (rows: number, inputs: number, out: number): Compute =>
  (make) => {
    const [x, weight, dy] = [make([rows, inputs], 1), make([out, inputs], 2), make([rows, out], 3)];
    const bias = make([out], 4, 'float32');
    const sum = make([out, inputs], 5, 'float32');
    const op = native();
    op.linearBackwardWeight(dy, x, sum, false, null);
    return [
      ...op.linearForward(x, weight, bias, null, 'quick_gelu', true),
      ...op.linearForward(x, weight, null, dy, 'none', false),
      op.linearBackwardInput(dy, weight, x),
      ...op.linearBackwardWeight(dy, x, null, true, null),
      sum,
    ];
  };

const kernels: [string, Compute][] = [
  [
    'attention',
    (make) => {
      const qkv = make([5, 70, 3 * 32], 1);
      const [out, logSum] = native().selfAttentionForward(qkv, 2, 69, false);
      const dout = make([5, 69, 32], 2);
      return [out, logSum, native().selfAttentionBackward(dout, qkv, out, logSum, 2, 69, false)];
    },
  ],
  [
    'layer norm',
    (make) => {
      const [x, dy, weight] = [make([300, 40], 1), make([300, 40], 2), make([40], 3, 'float32')];
      const [y, mean, rstd] = native().layerNormForward(x, null, weight, weight, 1e-5);
      return [y, ...native().layerNormBackward(dy, x, null, weight, mean, rstd, null)];
    },
  ],
  [
    'sums',
    (make) => {
      const x = make([300, 7, 50], 1);
      return [
        native().linearBackwardBias(x, null),
        ...[[0], [1], [0, 1, 2]].map((axes) => native().reduce('sum', x, axes, 'float32')),
      ];
    },
  ],
];

// Matrix products: the order of our own sums depends on their length alone, and oneDNN's for AVX-512 turns out to be so
// too. Its kernels for AVX2 split sums by threads.
const avx512 = existsSync('/proc/cpuinfo') && readFileSync('/proc/cpuinfo', 'utf8').includes('avx512bw');
const products: [string, Compute][] = [
  ['linear, large', linearOf(150, 288, 800)],
  ['linear, in quarters', linearOf(260, 352, 832)],
  ['linear, odd sizes', linearOf(50, 17, 130)],
  ['linear, odd sizes of many blocks', linearOf(431, 150, 421)],
  ['linear, few rows', linearOf(9, 5000, 7)],
  ['linear, few rows of whole vectors', linearOf(13, 768, 100)],
  ['linear, few outputs', linearOf(16, 4096, 64)],
  [
    'batched products',
    (make) => [
      native().matmulForward(make([12, 50, 64], 1), make([12, 50, 64], 2), false, true, 0.5, false),
      native().matmulForward(make([3, 9, 20], 3), make([3, 9, 33], 4), true, false, 1, true),
      native().matmulForward(make([2, 5, 9000], 5), make([2, 9000, 6], 6), false, false, 1, true),
    ],
  ],
];

describe.each(['float32', 'bfloat16'] as const)('the number of threads changes no bit of %s', (dtype) => {
  test.each(kernels)('%s', async (_, compute) => {
    expect(await sameBits(dtype, compute)).not.toContain(false);
  });
  (avx512 ? test : test.skip).each(products)('%s', async (_, compute) => {
    expect(await sameBits(dtype, compute)).not.toContain(false);
  });
});
