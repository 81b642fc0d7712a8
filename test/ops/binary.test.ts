import { add, div, maximum, minimum, mul, pow, sub } from '../../lib/ops/binary';
import { sum } from '../../lib/ops/reduce';
import { backward } from '../../lib/tensor/autograd';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { checkOp, type OpCase } from '../support/check_op';
import { broadcast, type Dense } from '../support/dense';

const cases: OpCase[] = [
  {
    name: 'same shape',
    inputs: [
      [3, 5],
      [3, 5],
    ],
  },
  {
    name: 'more than one block',
    inputs: [
      [2, 1030],
      [2, 1030],
    ],
  },
  { name: 'scalar right', inputs: [[2, 7], []] },
  { name: 'scalar left', inputs: [[], [2, 7]] },
  { name: 'row right', inputs: [[4, 3, 5], [5]] },
  {
    name: 'both sides',
    inputs: [
      [3, 1, 5],
      [2, 1, 4, 1],
    ],
  },
  { name: 'column right, float32 with any', inputs: [[3, 33], { shape: [3, 1], dtype: 'float32' }] },
  {
    name: 'empty',
    inputs: [
      [0, 3],
      [1, 3],
    ],
  },
];

const away = (shape: number[]) => ({
  shape,
  values: Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => 0.5 + ((i * 7) % 16) / 8),
});
const positive: OpCase[] = [
  { name: 'positive', inputs: [away([3, 5]), [3, 5]] },
  { name: 'positive, broadcast', inputs: [away([2, 1, 3]), [4, 1]] },
];
const divisor: OpCase[] = [
  { name: 'divisor away from zero', inputs: [[3, 5], away([3, 5])] },
  { name: 'divisor broadcast', inputs: [[4, 2, 3], away([2, 1])] },
  { name: 'dividend broadcast', inputs: [[], away([2, 19])] },
];

type Op = (a: Tensor, b: Tensor) => Tensor;
const check = (name: string, op: Op, f: (a: number, b: number) => number, list = cases) =>
  describe(name, () =>
    checkOp({
      run: ([a, b]) => op(a!, b!),
      reference: ([a, b]: Dense[]) => broadcast(a!, b!, f),
      cases: list,
    }),
  );

check('add', add, (a, b) => a + b);
check('sub', sub, (a, b) => a - b);
check('mul', mul, (a, b) => a * b);
check('div', div, (a, b) => a / b, divisor);
check('pow', pow, (a, b) => a ** b, positive);
check('maximum', maximum, Math.max);
check('minimum', minimum, Math.min);

test('float32 and another precision make that, on either side', () => {
  const [a, b] = [tensor([1]), tensor([1], undefined, { dtype: 'bfloat16' })];
  expect([add(a, b).dtype, add(b, a).dtype]).toEqual(['bfloat16', 'bfloat16']);
});

test('a number is an operand in float32, whatever the dtype', async () => {
  const x = tensor([1, 2], [2], { dtype: 'bfloat16', requiresGrad: true });
  const y = mul(x, 1 / 3);
  expect(await y.toArray()).toEqual([0.333984375, 0.66796875]);
  backward(y, tensor([1, 1], [2], { dtype: 'bfloat16' }));
  expect(await x.grad!.toArray()).toEqual([0.333984375, 0.333984375]);
});

test.each([
  ['maximum', maximum, [0, 1]],
  ['minimum', minimum, [1, 0]],
] as const)('equal operands of %s share the gradient; NaN wins, and has none', async (_, op, unequal) => {
  const a = tensor([1, Number.NaN, 3, Number.NaN, 4], [5], { requiresGrad: true });
  const b = tensor([1, 2, Number.NaN, Number.NaN, 5], [5], { requiresGrad: true });
  const y = op(a, b);
  expect(await y.toArray()).toEqual([1, Number.NaN, Number.NaN, Number.NaN, op === maximum ? 5 : 4]);
  backward(y, tensor([1, 1, 1, 1, 1]));
  for (const [i, x] of [a, b].entries()) expect(await x.grad!.toArray()).toEqual([0.5, 0, 0, 0, unequal[i]]);
});

test('an operand used twice receives both gradients', async () => {
  const x = tensor([3], [1], { requiresGrad: true });
  backward(mul(x, x));
  expect(await x.grad!.toArray()).toEqual([6]);
});

test('names both operands when shapes do not broadcast or dtypes do not fit', () => {
  const a = tensor(new Float32Array(6), [2, 3]);
  expect(() => add(a, tensor(new Float32Array(4)))).toThrow(
    expect.objectContaining({
      code: 'ERR_SHAPE',
      message: expect.stringMatching(/float32\[2, 3\].*float32\[4\]/),
    }),
  );
  expect(() => mul(a, tensor(new Int32Array(3)))).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }));
});

test('the derivative of a power is finite where it is 0 times a power below 0', async () => {
  const a = tensor([0, 2, 0, 0], [4], { requiresGrad: true });
  backward(sum(pow(a, tensor([0, 0, 1, 2]))));
  expect(await a.grad!.toArray()).toEqual([0, 0, 1, 0]);
});

test.each([
  ['mul', mul],
  ['div', div],
  ['pow', pow],
] as const)('%s has the same derivative by an operand whether or not the other has one', async (_, op) => {
  const gradients = async (byA: boolean, byB: boolean) => {
    const a = tensor([2, 3], [2], { requiresGrad: byA });
    const b = tensor([4, 0.5], [2], { requiresGrad: byB });
    backward(sum(op(a, b)));
    return [await a.grad?.data(), await b.grad?.data()];
  };
  const [both, first, second] = [
    await gradients(true, true),
    await gradients(true, false),
    await gradients(false, true),
  ];
  expect(both.every(Boolean)).toBe(true);
  expect([first[0], second[1]]).toEqual(both);
});
