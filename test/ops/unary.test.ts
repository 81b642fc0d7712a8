import * as ops from '../../lib/ops/unary';
import { backward } from '../../lib/tensor/autograd';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { checkOp, type OpCase } from '../support/check_op';
import type { Dense } from '../support/dense';

// Abramowitz and Stegun 7.1.5: the series of the error function.
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

const anywhere: OpCase[] = [
  { name: 'matrix', inputs: [[3, 7]] },
  { name: 'odd size over several blocks', inputs: [[2051]] },
  { name: 'scalar', inputs: [[]] },
  { name: 'empty', inputs: [[0, 4]] },
];
const positive: OpCase[] = [
  { name: 'positive', inputs: [{ shape: [40], values: Array.from({ length: 40 }, (_, i) => 0.25 + i / 8) }] },
];

const check = (name: string, op: (x: Tensor) => Tensor, f: (x: number) => number, cases = anywhere) =>
  describe(name, () =>
    checkOp({
      run: ([x]) => op(x!),
      reference: ([x]: Dense[]) => ({ shape: x!.shape, data: x!.data.map(f) }),
      cases,
    }),
  );

check('neg', ops.neg, (x) => -x);
check('exp', ops.exp, Math.exp);
check('log', ops.log, Math.log, positive);
check('sqrt', ops.sqrt, Math.sqrt, positive);
check('rsqrt', ops.rsqrt, (x) => 1 / Math.sqrt(x), positive);
check('abs', ops.abs, Math.abs);
check('square', ops.square, (x) => x * x);
check('tanh', ops.tanh, Math.tanh);
check('sigmoid', ops.sigmoid, sigmoid);
check('relu', ops.relu, (x) => Math.max(x, 0));
check('gelu', ops.gelu, (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)));
check('quickGelu', ops.quickGelu, (x) => x * sigmoid(1.702 * x));
check('sin', ops.sin, Math.sin);
check('cos', ops.cos, Math.cos);

test('edges: infinities, NaN and zero', async () => {
  const x = tensor([Number.NEGATIVE_INFINITY, 0, Number.POSITIVE_INFINITY, Number.NaN]);
  expect(await ops.exp(x).toArray()).toEqual([0, 1, Number.POSITIVE_INFINITY, Number.NaN]);
  expect(await ops.tanh(x).toArray()).toEqual([-1, 0, 1, Number.NaN]);
  expect(await ops.sigmoid(x).toArray()).toEqual([0, 0.5, 1, Number.NaN]);
  const ends = (await ops.quickGelu(tensor([Number.NaN, -1e30, -60, 60, 1e30])).toArray()) as number[];
  expect(ends.map((y) => y + 0)).toEqual([Number.NaN, 0, 0, 60, Math.fround(1e30)]);
  expect(await ops.log(tensor([0, -1])).toArray()).toEqual([Number.NEGATIVE_INFINITY, Number.NaN]);
});

test('where a function has a corner its gradient is 0', async () => {
  for (const op of [ops.abs, ops.relu]) {
    const x = tensor([-0, 0], undefined, { requiresGrad: true });
    backward(op(x), tensor([1, 1]));
    expect(((await x.grad!.toArray()) as number[]).map(Math.abs)).toEqual([0, 0]);
  }
});

test('integers are refused', () => {
  expect(() => ops.exp(tensor(new Int32Array(2)))).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }));
});
