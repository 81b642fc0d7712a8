import { native } from '../../lib/native/load';
import { cast } from '../../lib/ops/copy';
import { type Axes, argmax, max, mean, min, sum } from '../../lib/ops/reduce';
import { backward } from '../../lib/tensor/autograd';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense, randomDense, reduceDense } from '../support/dense';

const list: { name: string; shape: number[]; axes?: Axes; keep?: boolean }[] = [
  { name: 'all', shape: [3, 4] },
  { name: 'last', shape: [5, 3, 7], axes: -1 },
  { name: 'first, kept', shape: [5, 33], axes: 0, keep: true },
  { name: 'middle', shape: [2, 70, 5], axes: 1 },
  { name: 'neighbours', shape: [2, 3, 4, 5], axes: [1, 2] },
  { name: 'apart', shape: [2, 3, 4, 5], axes: [3, 1] },
  { name: 'none', shape: [2, 3], axes: [] },
  { name: 'rows of several blocks', shape: [2, 2100], axes: 1 },
  { name: 'more rows than one block', shape: [200, 3], axes: 0 },
  { name: 'scalar', shape: [] },
  { name: 'no rows', shape: [0, 4], axes: 1 },
];

const cases = list.map(({ name, shape }) => ({ name, inputs: [shape] }));
type Op = (x: Tensor, axes?: Axes, keep?: boolean) => Tensor;

const check = (name: string, op: Op, f: (values: number[]) => number) =>
  describe(name, () =>
    checkOp({
      run: ([x], i) => op(x!, list[i]!.axes, list[i]!.keep),
      reference: ([x]: Dense[], i) => reduceDense(x!, list[i]!.axes, list[i]!.keep ?? false, f),
      cases,
    }),
  );

check('sum', sum, (v) => v.reduce((a, b) => a + b, 0));
check('mean', mean, (v) => v.reduce((a, b) => a + b, 0) / v.length);
// Distinct values, so that the reference is differentiable.
for (const [name, op, f] of [
  ['max', max, Math.max],
  ['min', min, Math.min],
] as const) {
  describe(name, () =>
    checkOp({
      run: ([x], i) => op(x!, list[i]!.axes, list[i]!.keep),
      reference: ([x]: Dense[], i) => reduceDense(x!, list[i]!.axes, list[i]!.keep ?? false, (v) => f(...v)),
      cases: list.map(({ name: title, shape }) => ({
        name: title,
        inputs: [{ shape, values: [...dense(shape, (i) => ((i * 37) % 101) / 4 - 9 + i / 128).data] }],
      })),
      dtypes: ['float32'],
    }),
  );
}

describe('argmax', () =>
  checkOp({
    run: ([x], i) => argmax(x!, [1, 0, -1][i]),
    reference: ([x]: Dense[], i) => reduceDense(x!, [1, 0, 2][i]!, false, (v) => v.indexOf(Math.max(...v))),
    cases: [
      { name: 'middle', inputs: [[3, 9, 4]] },
      { name: 'first', inputs: [[5, 3]] },
      { name: 'last', inputs: [[2, 3, 77]] },
    ],
    gradient: false,
  }));

test('equal largest elements share the gradient; argmax takes the first, NaN before all', async () => {
  const x = tensor(
    [
      [2, 2, 1],
      [0, 5, Number.NaN],
    ],
    undefined,
    { requiresGrad: true },
  );
  expect(await argmax(x, 1).toArray()).toEqual([0, 2]);
  expect(await argmax(tensor([0, Number.NaN, 1, Number.NaN])).item()).toBe(1);
  const y = max(x, 1);
  expect(await y.toArray()).toEqual([2, Number.NaN]);
  expect(await min(x, 1).toArray()).toEqual([1, Number.NaN]);
  expect([await max(x, 0).toArray(), await min(x, 0).toArray()]).toEqual([
    [2, 5, Number.NaN],
    [0, 2, Number.NaN],
  ]);
  backward(y, tensor([1, 0]));
  expect(((await x.grad!.toArray()) as number[][])[0]).toEqual([0.5, 0.5, 0]);
});

test('argmax has no derivative', () => {
  const x = tensor([1, 2], [2], { requiresGrad: true });
  const index = argmax(x);
  expect(() => backward(index, tensor(new Int32Array([1]), []))).toThrow(
    expect.objectContaining({ code: 'ERR_NO_GRADIENT' }),
  );
});

test('a sum of nothing is 0', async () => {
  expect(await sum(tensor(new Float32Array(0), [3, 0]), 1).toArray()).toEqual([0, 0, 0]);
});

test('a bfloat16 sum over dimensions apart is rounded once', async () => {
  // 257 is no bfloat16 number, nor is 771, which is nearest to 772.
  const x = tensor(new Float32Array(3 * 2 * 257).fill(1), [3, 2, 257]);
  expect(await sum(cast(x, 'bfloat16'), [0, 2]).toArray()).toEqual([772, 772]);
});

test('a long float32 sum stays exact to rounding', async () => {
  const x = tensor(new Float32Array(1_000_000).fill(0.1));
  const exact = 1_000_000 * Math.fround(0.1);
  expect(Math.abs((await sum(x).item()) - exact)).toBeLessThan(exact * 2 ** -23);
});

test('the result does not depend on the number of threads', async () => {
  const { data, shape } = randomDense([517, 1033], 3);
  const x = tensor(Float32Array.from(data), shape);
  const results: unknown[] = [];
  for (const threads of [1, 2, 3]) {
    native().setThreads(threads);
    results.push([await sum(x).item(), await sum(x, 0).toArray(), await sum(x, 1).toArray()]);
  }
  native().setThreads(2);
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});

test('rejects axes that do not exist or repeat, and the largest of nothing', () => {
  const x = tensor(new Float32Array(6), [2, 3]);
  const code = (value: string) => expect.objectContaining({ code: value });
  expect(() => sum(x, 2)).toThrow(code('ERR_SHAPE'));
  expect(() => mean(x, [0, -2])).toThrow(code('ERR_SHAPE'));
  expect(() => max(tensor(new Float32Array(0), [2, 0]), 1)).toThrow(code('ERR_SHAPE'));
  expect(() => sum(tensor(new Int32Array(2)))).toThrow(code('ERR_DTYPE'));
});
