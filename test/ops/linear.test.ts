import { memory } from '../../lib/native/device';
import { type NativeTensor, native } from '../../lib/native/load';
import { cast } from '../../lib/ops/copy';
import { type LinearOptions, linear } from '../../lib/ops/linear';
import { backward } from '../../lib/tensor/autograd';
import { bfloat16Bits, Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';
import { type CaseInput, checkOp, expectClose } from '../support/check_op';
import { type Dense, dense, randomDense, sizeOf } from '../support/dense';

interface Case extends LinearOptions {
  name: string;
  inputs: CaseInput[];
  activation?: 'none' | 'quick_gelu';
}

// Inputs are x, weight, and as far as given bias and residual.
const cases: Case[] = [
  { name: 'matrix', inputs: [[4, 8], [16, 8], bias(16)] },
  {
    name: 'no bias, odd sizes',
    inputs: [
      [2, 3, 7],
      [5, 7],
    ],
  },
  { name: 'residual', inputs: [[2, 5, 9], [33, 9], bias(33), [2, 5, 33]] },
  { name: 'QuickGELU', inputs: [[6, 10], [70, 10], bias(70)], activation: 'quick_gelu' },
  { name: 'QuickGELU and residual', inputs: [[3, 4], [5, 4], bias(5), [3, 5]], activation: 'quick_gelu' },
  { name: 'more rows than one block of the bias gradient', inputs: [[130, 3], [4, 3], bias(4)] },
  { name: 'whole blocks', inputs: [[32, 32], [32, 32], bias(32), [32, 32]], activation: 'quick_gelu' },
  {
    name: 'few rows of whole vectors',
    inputs: [[3, 5, 48], [37, 48], bias(37), [3, 5, 37]],
    activation: 'quick_gelu',
  },
  { name: 'one row of whole vectors', inputs: [[1, 32], [18, 32], bias(18)] },
  { name: 'a vector', inputs: [[6], [3, 6], bias(3)] },
  { name: 'no rows', inputs: [[0, 6], [3, 6], bias(3)] },
  { name: 'no columns', inputs: [[3, 0], [4, 0], bias(4)] },
  { name: 'weight of another precision', inputs: [[3, 8], { shape: [4, 8], dtype: 'float32' }, bias(4)] },
];

function bias(size: number): CaseInput {
  return { shape: [size], dtype: 'float32' };
}

function reference([x, weight, bias, residual]: Dense[], index: number): Dense {
  const [out, width] = weight!.shape as [number, number];
  const y = dense([...x!.shape.slice(0, -1), out]);
  const quickGelu = cases[index]!.activation === 'quick_gelu';
  for (let i = 0; i < y.data.length; i++) {
    const row = Math.floor(i / out) * width;
    const column = (i % out) * width;
    let u = bias ? bias.data[i % out]! : 0;
    for (let k = 0; k < width; k++) u += x!.data[row + k]! * weight!.data[column + k]!;
    y.data[i] = (quickGelu ? u / (1 + Math.exp(-1.702 * u)) : u) + (residual ? residual.data[i]! : 0);
  }
  return y;
}

checkOp({
  run: ([x, weight, bias, residual], index) =>
    linear(x!, weight!, bias, { activation: cases[index]!.activation, residual }),
  reference,
  cases,
});

test.each(['float32', 'bfloat16'] as const)(
  'without a tape the activation has the same bits, %s',
  async (dtype) => {
    for (const [rows, inputs, out] of [
      [9, 20, 41],
      [70, 96, 64],
    ] as const) {
      const make = (shape: number[], seed: number, requiresGrad: boolean) => {
        const { data } = randomDense(shape, seed);
        const values = dtype === 'float32' ? Float32Array.from(data) : Uint16Array.from(data, bfloat16Bits);
        return tensor(values, shape, { dtype, requiresGrad });
      };
      const [plain, recorded] = await Promise.all(
        [false, true].map(async (on) => {
          const y = linear(make([rows, inputs], 1, on), make([out, inputs], 2, on), null, {
            activation: 'quick_gelu',
            residual: make([rows, out], 3, on),
          });
          expect(y.requiresGrad).toBe(on);
          return toNumbers(dtype, await y.data());
        }),
      );
      expect(plain).toEqual(recorded);
    }
  },
);

test('layers of one shape with and without bias, residual and activation, in turn', async () => {
  const [x, weight, bias, residual] = [
    tensor([[1, 2, 3]]),
    tensor([[1, 1, 1]]),
    tensor([10]),
    tensor([[100]]),
  ];
  for (const [b, r, activation] of [
    [null, null, 'none'],
    [bias, null, 'none'],
    [null, residual, 'none'],
    [bias, residual, 'quick_gelu'],
    [null, null, 'quick_gelu'],
    [bias, residual, 'none'],
    [null, null, 'none'],
  ] as const) {
    const u = b ? 16 : 6;
    const wanted = (activation === 'none' ? u : u / (1 + Math.exp(-1.702 * u))) + (r ? 100 : 0);
    expect(await linear(x, weight, b, { residual: r, activation }).item()).toBeCloseTo(wanted, 4);
  }
});

// Small, in whole blocks, and in more than one block of each kind.
const sizes = [
  [3, 5, 7],
  [32, 64, 32],
  [133, 96, 448],
] as const;

test.each(sizes)(
  'the fused gradients of [%i, %i] by [%i] are those of separate calls',
  async (rows, inputs, out) => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const make = (shape: number[], seed: number) => {
        const { data } = randomDense(shape, seed);
        const values = dtype === 'float32' ? Float32Array.from(data) : Uint16Array.from(data, bfloat16Bits);
        return tensor(values, shape, { dtype });
      };
      const [du, x, weight, slope] = [
        make([rows, out], 1),
        make([rows, inputs], 2),
        make([out, inputs], 3),
        make([rows, inputs], 4),
      ];
      const [total, biasTotal] = [make([out, inputs], 5), make([out], 6)].map((y) =>
        y.dtype === 'float32' ? y : cast(y, 'float32'),
      );
      const op = native();
      const numbers = async (handle: NativeTensor) => {
        const y = new Tensor(handle);
        return toNumbers(y.dtype, await y.data());
      };
      const close = (what: string, a: number[], b: number[], unit: number) =>
        expectClose(`${what}, ${dtype}`, a, b, unit * Math.max(...b.map(Math.abs)));

      const plain = op.linearBackwardSlope(
        op.linearBackwardInput(du.handle, weight.handle, null),
        slope.handle,
      );
      const sloped = op.linearBackwardInput(du.handle, weight.handle, slope.handle);
      const rounding = dtype === 'float32' ? 2 ** -22 : 2 ** -7;
      close('input gradient', await numbers(sloped), await numbers(plain), rounding);

      const [dweight, dbias] = op.linearBackwardWeight(du.handle, x.handle, null, true, null);
      const [alone, none] = op.linearBackwardWeight(du.handle, x.handle, null, false, null);
      const biasAlone = op.linearBackwardBias(du.handle, null);
      expect(none).toBeNull();
      expect(await numbers(dweight!)).toEqual(await numbers(alone!));
      close('bias gradient', await numbers(dbias!), await numbers(biasAlone!), 2 ** -20);

      const before = [await numbers(total!.handle), await numbers(biasTotal!.handle)];
      expect(op.linearBackwardWeight(du.handle, x.handle, total!.handle, true, biasTotal!.handle)).toEqual([
        null,
        null,
      ]);
      const sums = [await numbers(dweight!), await numbers(dbias!)];
      for (const [i, handle] of [total!.handle, biasTotal!.handle].entries()) {
        const wanted = before[i]!.map((value, k) => value + sums[i]![k]!);
        close('accumulated', await numbers(handle), wanted, 2 ** -20);
      }
      // One of the two accumulated, the other new.
      const [noWeight, newBias] = op.linearBackwardWeight(du.handle, x.handle, total!.handle, true, null);
      const [newWeight, noBias] = op.linearBackwardWeight(du.handle, x.handle, null, true, biasTotal!.handle);
      expect([noWeight, noBias]).toEqual([null, null]);
      close('new bias gradient', await numbers(newBias!), sums[1]!, 2 ** -20);
      close('new weight gradient', await numbers(newWeight!), sums[0]!, 2 ** -20);
    }
  },
);

test('gradients of weight and bias add up in place over two passes', async () => {
  const shapes = [[5, 6], [7, 6], [7]];
  const [x, weight, bias] = shapes.map((shape, i) =>
    tensor(Float32Array.from(randomDense(shape, i + 1).data), shape, { requiresGrad: i > 0 }),
  );
  const pass = () => {
    const y = linear(x!, weight!, bias!);
    const ones = tensor(new Float32Array(sizeOf(y.shape)).fill(1), [...y.shape]);
    backward(y, ones);
    y.dispose();
    ones.dispose();
  };
  pass();
  const once = [await weight!.grad!.data(), await bias!.grad!.data()] as Float32Array[];
  const live = memory().liveTensors;
  pass();
  expect(memory().liveTensors).toBe(live);
  const twice = [await weight!.grad!.data(), await bias!.grad!.data()] as Float32Array[];
  once.forEach((grad, i) => {
    expectClose(
      'sum of two',
      twice[i]!,
      grad.map((g) => 2 * g),
      1e-5,
    );
  });
});

test('a master weight keeps a float32 gradient for a bfloat16 input', async () => {
  const x = tensor([[1, 2]], undefined, { dtype: 'bfloat16' });
  const weight = tensor([[1.001, 1]], undefined, { requiresGrad: true });
  const y = linear(x, weight);
  backward(y, tensor([[3]], undefined, { dtype: 'bfloat16' }));
  expect(y.dtype).toBe('bfloat16');
  expect(weight.grad!.dtype).toBe('float32');
  expect(await weight.grad!.toArray()).toEqual([[3, 6]]);
});

const zeros = (...shape: number[]) => tensor(new Float32Array(sizeOf(shape)), shape);

test.each([
  ['ERR_SHAPE', /\[out, 3\].*float32\[4, 2\]/, () => linear(zeros(2, 3), zeros(4, 2))],
  ['ERR_SHAPE', /bias must be float32\[4\]/, () => linear(zeros(2, 3), zeros(4, 3), zeros(3))],
  ['ERR_SHAPE', /residual must be/, () => linear(zeros(2, 3), zeros(4, 3), null, { residual: zeros(2, 3) })],
  ['ERR_DTYPE', /x must be float32.* bfloat16/, () => linear(tensor(new Int32Array(3)), zeros(4, 3))],
  [
    'ERR_DTYPE',
    /one dtype/,
    () => linear(zeros(3), tensor(new Uint16Array(3), [1, 3], { dtype: 'bfloat16' })),
  ],
  ['ERR_ARGUMENT', /'relu'/, () => linear(zeros(2, 3), zeros(4, 3), null, { activation: 'relu' as 'none' })],
  [
    'ERR_SHAPE',
    /slope must be float32\[2, 3\]/,
    () => native().linearBackwardInput(zeros(2, 4).handle, zeros(4, 3).handle, zeros(2, 4).handle),
  ],
  [
    'ERR_ARGUMENT',
    /bias_into/,
    () => native().linearBackwardWeight(zeros(2, 4).handle, zeros(2, 3).handle, null, false, zeros(4).handle),
  ],
])('rejects wrong operands: %s %s', (code, message, body) => {
  expect(body).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
});
