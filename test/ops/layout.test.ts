import { defaultDevice } from '../../lib/native/device';
import { concat, expand, permute, reshape, slice, stack, transpose } from '../../lib/ops/layout';
import { backward } from '../../lib/tensor/autograd';
import { type Tensor, type TensorData, tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { broadcast, type Dense, dense, indexOf, sizeOf } from '../support/dense';

// Element `index` of the result is taken from the coordinates that `from` gives.
function pick(x: Dense, shape: number[], from: (index: number[]) => number[]): Dense {
  return dense(shape, (i) => x.data[from(indexOf(i, shape)).reduce((o, k, d) => o * x.shape[d]! + k, 0)]!);
}

const single = (
  run: (x: Tensor, i: number) => Tensor,
  f: (x: Dense, i: number) => Dense,
  shapes: number[][],
) =>
  checkOp({
    run: ([x], i) => run(x!, i),
    reference: ([x]: Dense[], i) => f(x!, i),
    cases: shapes.map((shape) => ({ name: `[${shape}]`, inputs: [shape] })),
  });

describe('concat', () => {
  const axes = [0, 1, -1, 1];
  checkOp({
    run: (list, i) => concat(list, axes[i]),
    reference: (list: Dense[], i) => {
      const axis = axes[i]! < 0 ? axes[i]! + list[0]!.shape.length : axes[i]!;
      const shape = [...list[0]!.shape];
      shape[axis] = list.reduce((n, x) => n + x.shape[axis]!, 0);
      return dense(shape, (k) => {
        const index = indexOf(k, shape);
        const source = list.find((x) => {
          if (index[axis]! < x.shape[axis]!) return true;
          index[axis]! -= x.shape[axis]!;
          return false;
        })!;
        return source.data[index.reduce((o, v, d) => o * source.shape[d]! + v, 0)]!;
      });
    },
    cases: [
      {
        name: 'first',
        inputs: [
          [2, 3],
          [1, 3],
          [4, 3],
        ],
      },
      {
        name: 'middle',
        inputs: [
          [5, 1, 7],
          [5, 16, 7],
        ],
      },
      {
        name: 'last',
        inputs: [
          [3, 2],
          [3, 5],
        ],
      },
      {
        name: 'an empty part',
        inputs: [
          [3, 0],
          [3, 2],
        ],
      },
    ],
  });
});

describe('stack', () =>
  checkOp({
    run: (list) => stack(list, -1),
    reference: ([a, b]: Dense[]) =>
      dense([...a!.shape, 2], (i) => (i % 2 ? b! : a!).data[Math.floor(i / 2)]!),
    cases: [
      {
        name: 'last',
        inputs: [
          [2, 3],
          [2, 3],
        ],
      },
    ],
  }));

const slices: [axis: number, start: number, end: number][] = [
  [0, 1, 3],
  [1, 0, 1],
  [-1, 4, 7],
  [0, 2, 2],
];
describe('slice', () =>
  single(
    (x, i) => slice(x, ...slices[i]!),
    (x, i) => {
      const [axis, start, end] = slices[i]!;
      const d = axis < 0 ? axis + x.shape.length : axis;
      const shape = x.shape.map((size, k) => (k === d ? end - start : size));
      return pick(x, shape, (index) => index.map((k, j) => (j === d ? k + start : k)));
    },
    [
      [4, 3],
      [5, 17, 6],
      [2, 3, 9],
      [4, 2],
    ],
  ));

const orders = [[1, 0], [2, 0, 1], [0, 2, 1], [0, 2, 1, 3], [3, -2, 1, 0], []];
describe('permute', () =>
  single(
    (x, i) => permute(x, orders[i]!),
    (x, i) => {
      const order = orders[i]!.map((axis) => (axis < 0 ? axis + x.shape.length : axis));
      const shape = order.map((axis) => x.shape[axis]!);
      return pick(x, shape, (index) => {
        const from = new Array<number>(index.length);
        order.forEach((axis, k) => {
          from[axis] = index[k]!;
        });
        return from;
      });
    },
    [[70, 35], [3, 4, 5], [2, 33, 40], [2, 5, 3, 8], [2, 3, 4, 5], []],
  ));

describe('transpose', () =>
  single(
    transpose,
    (x) => {
      const [n, m, k] = x.shape as [number, number, number];
      return pick(x, [n, k, m], ([a, b, c]) => [a!, c!, b!]);
    },
    [
      [2, 3, 4],
      [1, 65, 33],
      [2, 0, 3],
    ],
  ));

describe('reshape', () =>
  single(
    (x) => reshape(x, [-1, 2]),
    (x) => ({ shape: [sizeOf(x.shape) / 2, 2], data: x.data }),
    [[3, 4], [2]],
  ));

const targets = [
  [2, 3, 4],
  [3, 5, 7],
  [4, 0],
  [2, 2],
];
describe('expand', () =>
  single(
    (x, i) => expand(x, targets[i]!),
    (x, i) => broadcast(x, dense(targets[i]!), (value) => value),
    [[3, 1], [3, 1, 7], [1, 1], []],
  ));

test('every dtype moves', async () => {
  const wide = tensor(new BigInt64Array([1n, 2n, 3n, 4n]), [2, 2]);
  expect(await transpose(wide).toArray()).toEqual([
    [1, 3],
    [2, 4],
  ]);
  const bytes = tensor(new Uint8Array([1, 2, 3, 4]), [2, 2]);
  expect(await concat([bytes, transpose(bytes)], 1).toArray()).toEqual([
    [1, 2, 1, 3],
    [3, 4, 2, 4],
  ]);
});

test('what does not fit is an ERR_SHAPE', () => {
  const x = tensor(new Float32Array(6), [2, 3]);
  const shapeError = expect.objectContaining({ code: 'ERR_SHAPE' });
  expect(() => concat([x, tensor(new Float32Array(4), [2, 2])], 0)).toThrow(shapeError);
  expect(() => concat([])).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  expect(() => slice(x, 1, 2, 4)).toThrow(shapeError);
  expect(() => slice(x, 2, 0, 1)).toThrow(shapeError);
  expect(() => permute(x, [0, 0])).toThrow(shapeError);
  expect(() => permute(x, [0])).toThrow(shapeError);
  expect(() => reshape(x, [4, -1])).toThrow(shapeError);
  expect(() => reshape(x, [-1, -1])).toThrow(shapeError);
  expect(() => expand(x, [2, 4])).toThrow(shapeError);
  expect(() => transpose(tensor(new Float32Array(2)))).toThrow(shapeError);
  const most = tensor(new Float32Array(2 ** 9), new Array(9).fill(2));
  expect(() => permute(most, [8, 7, 6, 5, 4, 3, 2, 1, 0])).toThrow(/more than 8 dimensions/);
});

test('one long row is copied whole, whatever its steps', async () => {
  // So long that threads of the CPU share it; an emulated device takes long for as much.
  const length = defaultDevice() === 'cpu' ? 100_001 : 1001;
  const x = tensor(
    Float32Array.from({ length: 2 * length }, (_, i) => i),
    [length, 2],
    { requiresGrad: true },
  );
  const y = slice(x, 1, 1, 2);
  const same = (data: TensorData, value: (i: number) => number) =>
    (data as Float32Array).every((v, i) => v === value(i));
  expect(same(await y.data(), (i) => 2 * i + 1)).toBe(true);
  backward(
    y,
    tensor(
      Float32Array.from({ length }, (_, i) => i),
      [length, 1],
    ),
  );
  expect(same(await x.grad!.data(), (i) => (i % 2) * ((i - 1) / 2))).toBe(true);
  expect(same(await expand(tensor([3]), [length]).data(), () => 3)).toBe(true);
});
