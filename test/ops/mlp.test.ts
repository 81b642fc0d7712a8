import { memory } from '../../lib/native/device';
import { cast } from '../../lib/ops/copy';
import { linear } from '../../lib/ops/linear';
import { mlp } from '../../lib/ops/mlp';
import { backward, noGrad } from '../../lib/tensor/autograd';
import { bfloat16Bits, type Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';
import { type CaseInput, checkOp, expectClose } from '../support/check_op';
import { type Dense, dense, randomDense, sizeOf } from '../support/dense';

const vector = (size: number): CaseInput => ({ shape: [size], dtype: 'float32' });

// Inputs are x, the weights and biases of both layers, and as far as given the residual.
const cases: { name: string; inputs: CaseInput[] }[] = [
  { name: 'matrix', inputs: [[4, 6], [9, 6], vector(9), [5, 9], vector(5)] },
  { name: 'residual', inputs: [[2, 3, 5], [7, 5], vector(7), [5, 7], vector(5), [2, 3, 5]] },
  { name: 'whole blocks', inputs: [[32, 32], [64, 32], vector(64), [32, 64], vector(32), [32, 32]] },
  { name: 'no rows', inputs: [[0, 4], [3, 4], vector(3), [2, 3], vector(2)] },
  {
    name: 'weights of another precision',
    inputs: [
      [3, 4],
      { shape: [6, 4], dtype: 'float32' },
      vector(6),
      { shape: [4, 6], dtype: 'float32' },
      vector(4),
    ],
  },
];

function layer(x: Dense, weight: Dense, bias: Dense): Dense {
  const [out, width] = weight.shape as [number, number];
  const y = dense([...x.shape.slice(0, -1), out]);
  for (let i = 0; i < y.data.length; i++) {
    const [row, column] = [Math.floor(i / out) * width, (i % out) * width];
    let sum = bias.data[i % out]!;
    for (let k = 0; k < width; k++) sum += x.data[row + k]! * weight.data[column + k]!;
    y.data[i] = sum;
  }
  return y;
}

checkOp({
  run: ([x, weight1, bias1, weight2, bias2, residual]) =>
    mlp(x!, { weight: weight1!, bias: bias1 }, { weight: weight2!, bias: bias2 }, { residual }),
  reference: ([x, weight1, bias1, weight2, bias2, residual]) => {
    const hidden = layer(x!, weight1!, bias1!);
    for (const [i, u] of hidden.data.entries()) hidden.data[i] = u / (1 + Math.exp(-1.702 * u));
    const y = layer(hidden, weight2!, bias2!);
    if (residual) for (const [i, r] of residual.data.entries()) y.data[i]! += r;
    return y;
  },
  cases,
});

const shapes = [[70, 32], [96, 32], [96], [32, 96], [32], [70, 32]];
const bfloat16Too = ['float32', 'bfloat16'] as const;

function operands(dtype: 'float32' | 'bfloat16'): Tensor[] {
  return shapes.map((shape, i) => {
    const { data } = randomDense(shape, i + 1);
    // Biases are always float32.
    const half = dtype === 'bfloat16' && shape.length > 1;
    return tensor(half ? Uint16Array.from(data, bfloat16Bits) : Float32Array.from(data), shape, {
      dtype: half ? dtype : 'float32',
      requiresGrad: true,
    });
  });
}

const composed = ([x, weight1, bias1, weight2, bias2, residual]: Tensor[]) =>
  linear(linear(x!, weight1!, bias1, { activation: 'quick_gelu' }), weight2!, bias2, { residual });
const fused = ([x, weight1, bias1, weight2, bias2, residual]: Tensor[]) =>
  mlp(x!, { weight: weight1!, bias: bias1 }, { weight: weight2!, bias: bias2 }, { residual });

const numbers = async (x: Tensor) => toNumbers(x.dtype, await x.data());

test.each(bfloat16Too)('is the composition of two linear layers, %s', async (dtype) => {
  const [one, two] = [operands(dtype), operands(dtype)];
  const results = [composed(one), fused(two)];
  expect(await numbers(results[1]!)).toEqual(await numbers(results[0]!));
  const cotangent = tensor(new Float32Array(sizeOf(shapes[0]!)).fill(1), shapes[0]);
  for (const y of results) backward(y, y.dtype === 'float32' ? cotangent : cast(cotangent, dtype));
  for (const [i, operand] of one.entries()) {
    const [wanted, actual] = [await numbers(operand.grad!), await numbers(two[i]!.grad!)];
    // The composition rounds the gradient of the activation to bfloat16 before it multiplies by the slope.
    const unit = dtype === 'float32' ? 2 ** -21 : 2 ** -7;
    expectClose(`gradient ${i}`, actual, wanted, unit * Math.max(...wanted.map(Math.abs)));
  }
});

test.each(bfloat16Too)('gives the same bits with and without a tape, %s', async (dtype) => {
  const inputs = operands(dtype);
  expect(await numbers(noGrad(() => fused(inputs)))).toEqual(await numbers(fused(inputs)));
});

test('gradients of the parameters add up in place, and frozen ones get none', async () => {
  const inputs = operands('float32');
  inputs[1]!.requiresGrad = false;
  const cotangent = tensor(new Float32Array(sizeOf(shapes[0]!)).fill(1), shapes[0]);
  const pass = () => {
    const y = fused(inputs);
    backward(y, cotangent);
    y.dispose();
  };
  pass();
  const once = await Promise.all([2, 3, 4].map((i) => numbers(inputs[i]!.grad!)));
  const live = memory().liveTensors;
  pass();
  expect(memory().liveTensors).toBe(live);
  expect(inputs[1]!.grad).toBeNull();
  for (const [k, i] of [2, 3, 4].entries()) {
    const twice = once[k]!.map((value) => 2 * value);
    expectClose(`gradient ${i}`, await numbers(inputs[i]!.grad!), twice, 2 ** -20 * Math.max(...twice));
  }
});

test('only the second layer has a gradient when nothing before it wants one', async () => {
  const inputs = operands('float32');
  for (const i of [0, 1, 2, 5]) inputs[i]!.requiresGrad = false;
  backward(fused(inputs), tensor(new Float32Array(sizeOf(shapes[0]!)).fill(1), shapes[0]));
  expect(inputs.map((x) => x.grad !== null)).toEqual([false, false, false, true, true, false]);
  expect(await numbers(inputs[4]!.grad!)).toEqual(new Array(32).fill(70));
});

test('rejects layers that do not fit', () => {
  const [x, weight1, , weight2] = operands('float32');
  const live = memory().liveTensors;
  expect(() => mlp(x!, { weight: weight1! }, { weight: weight1! })).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE' }),
  );
  expect(() => mlp(x!, { weight: weight2! }, { weight: weight1! })).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE' }),
  );
  expect(memory().liveTensors).toBe(live);
});
