import { memory } from '../../lib/native/device';
import { native } from '../../lib/native/load';
import { full, mul } from '../../lib/ops';
import { keep, scope } from '../../lib/tensor/scope';
import { Tensor, tensor } from '../../lib/tensor/tensor';

const live = () => memory().liveTensors;

test('typed arrays and nested arrays go in and come out', async () => {
  using a = tensor(new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3]);
  using b = tensor(
    [
      [1n, 2n],
      [3n, 4n],
    ],
    undefined,
    { dtype: 'int64' },
  );
  using c = tensor(7);
  expect(a.shape).toEqual([2, 3]);
  expect(await a.toArray()).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expect(b.dtype).toBe('int64');
  expect(Array.from(await b.data(), Number)).toEqual([1, 2, 3, 4]);
  expect(await c.item()).toBe(7);
});

test('int64 holds every bit of a bigint', async () => {
  using x = tensor([[2n ** 60n + 1n, -(2n ** 53n) - 1n]], undefined, { dtype: 'int64' });
  expect(await x.data()).toEqual(BigInt64Array.of(2n ** 60n + 1n, -(2n ** 53n) - 1n));
});

test.each([
  [
    'int32',
    [
      [1, 2],
      [3, 1.5],
    ],
    'from -2147483648 to 2147483647, got 1.5 at [1, 1]',
  ],
  ['int32', [0, Number.NaN], 'got NaN at [1]'],
  ['int32', [2 ** 31], 'got 2147483648 at [0]'],
  ['int32', -(2n ** 31n) - 1n, 'got -2147483649;'],
  [
    'uint8',
    [
      [0, 255],
      [256, 0],
    ],
    'from 0 to 255, got 256 at [1, 0]',
  ],
  ['uint8', [-1], 'got -1 at [0]'],
  ['int64', [2n ** 63n], 'from -9223372036854775808 to 9223372036854775807, got 9223372036854775808 at [0]'],
  ['int64', [2 ** 63], 'got 9223372036854776000 at [0]'],
  ['int64', [Number.POSITIVE_INFINITY], 'got Infinity at [0]'],
] as const)('%s refuses %j, and says where', (dtype, data, words) => {
  expect(() => tensor(data, undefined, { dtype })).toThrow(
    expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringContaining(words) }),
  );
  const value = [data].flat(2).at(-1)!;
  if (typeof value === 'number' && value !== 0)
    expect(() => full([2], value, { dtype })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
});

test('integer dtypes hold the ends of their ranges', async () => {
  for (const [dtype, least, most] of [
    ['uint8', 0n, 255n],
    ['int32', -(2n ** 31n), 2n ** 31n - 1n],
    ['int64', -(2n ** 63n), 2n ** 63n - 1n],
  ] as const) {
    using x = tensor([least, most], undefined, { dtype });
    expect(Array.from(await x.data(), BigInt)).toEqual([least, most]);
  }
  using y = full([1], 255, { dtype: 'uint8' });
  expect(await y.toArray()).toEqual([255]);
});

test('bfloat16 rounds to nearest even and survives NaN and infinity', async () => {
  const values = [1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -2.5, Number.POSITIVE_INFINITY, Number.NaN];
  using x = tensor(values, [6], { dtype: 'bfloat16' });
  expect(await x.toArray()).toEqual([1, 1, 1 + 2 ** -6, -2.5, Number.POSITIVE_INFINITY, Number.NaN]);
});

test('float16 rounds to nearest even, down to its smallest numbers, and keeps the sign of 0', async () => {
  const steps = [1, 1.5, 2.5, 3.5].map((count) => count * 2 ** -24); // of the numbers below the normal ones
  const values = [...steps, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519, 65520, -65520, Number.NaN, -0];
  using x = tensor(values, [values.length], { dtype: 'float16' });
  expect(await x.toArray()).toEqual([
    ...[1, 2, 2, 4].map((count) => count * 2 ** -24),
    ...[1, 1 + 2 ** -9, 65504, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, -0],
  ]);
});

test('dimensions count from either end', () => {
  using x = tensor([[1, 2, 3]]);
  expect([0, 1, -1, -2].map((axis) => x.dim(axis))).toEqual([1, 3, 3, 1]);
  for (const axis of [2, -3])
    expect(() => x.dim(axis)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
});

test('leaves of real numbers alone can require a gradient', () => {
  using leaf = tensor([1], [1], { requiresGrad: true });
  using computed = mul(leaf, 2);
  expect(() => {
    computed.requiresGrad = false;
  }).toThrow(expect.objectContaining({ code: 'ERR_NO_GRADIENT' }));
  expect(() => tensor(Int32Array.of(1), [1], { requiresGrad: true })).toThrow(
    expect.objectContaining({ code: 'ERR_DTYPE' }),
  );
});

test.each([
  ['wrong number of elements', () => tensor(new Float32Array(5), [2, 3]), 'ERR_SHAPE'],
  ['ragged nesting', () => tensor([[1, 2], [3]]), 'ERR_SHAPE'],
  ['negative size', () => tensor(new Float32Array(0), [-1, 0]), 'ERR_SHAPE'],
  ['fractional size', () => tensor(new Float32Array(1), [0.5]), 'ERR_ARGUMENT'],
  ['array type of another dtype', () => tensor(new Float32Array(2), [2], { dtype: 'int32' }), 'ERR_DTYPE'],
  ['array type without a dtype', () => tensor(new Float64Array(2) as never, [2]), 'ERR_DTYPE'],
  ['unknown dtype', () => tensor([1], [1], { dtype: 'complex64' as never }), 'ERR_DTYPE'],
  ['unknown device', () => tensor([1], [1], { device: 'tpu' as never }), 'ERR_DEVICE'],
  ['no data', () => tensor('text' as never), 'ERR_ARGUMENT'],
])('refuses %s', (_, make, code) => {
  expect(make).toThrow(expect.objectContaining({ code }));
});

test('the addon refuses what is not a tensor', () => {
  for (const wrong of [undefined, null, 1, {}, [], new Float32Array(1)]) {
    expect(() => native().retain(wrong as never)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  }
});

test('rows of rows, in another shape, are where they belong', async () => {
  const op = native();
  using x = tensor(
    Float32Array.from({ length: 24 }, (_, i) => i),
    [6, 4],
  );
  using y = new Tensor(op.rows(op.reshape(op.rows(op.rows(x.handle, 1, 4), 1, 3), [6, 2]), 5, 1));
  expect(await y.toArray()).toEqual([[18, 19]]);
  using none = tensor(new Float32Array(0), [0, 4]);
  using empty = new Tensor(op.rows(none.handle, 0, 0));
  expect(empty.shape).toEqual([0, 4]);
});

test('use after dispose is an error, dispose twice is not', async () => {
  const x = tensor([1, 2]);
  x.dispose();
  x.dispose();
  expect(() => x.handle).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  await expect(x.data()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
});

test('a scope disposes what it does not return, in arrays and objects too', () => {
  const before = live();
  const kept = scope(() => {
    tensor([1]);
    return { a: [tensor([2])], b: tensor([3]) };
  });
  expect(live()).toBe(before + 2);
  kept.a[0]!.dispose();
  kept.b.dispose();
  expect(() =>
    scope(() => {
      tensor([1]);
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(live()).toBe(before);
});

test('a scope may return what goes in a circle, or is as deep or long as can be', () => {
  const before = live();
  interface Link {
    value: Tensor | null;
    next: Link | null;
  }
  const kept = scope(() => {
    const circle: { self?: unknown; value: Tensor } = { value: tensor([1]) };
    circle.self = [circle, Object.assign(Object.create(null), { again: circle, value: tensor([2]) })];
    let chain: Link = { value: tensor([3]), next: null };
    for (let i = 0; i < 100_000; i++) chain = { value: null, next: chain };
    return { circle, chain, long: [...new Array(300_000).fill(0), tensor([4])] };
  });
  expect(live()).toBe(before + 4);
  scope(() => {
    // What passes to this scope is disposed at its end.
    scope(() => [kept.circle.value, tensor([5])]);
  });
  expect(live()).toBe(before + 4);
  let last = kept.chain;
  while (last.next) last = last.next;
  const [, inner] = kept.circle.self as [unknown, { value: Tensor }];
  for (const value of [kept.circle.value, inner.value, last.value!, kept.long.at(-1)]) value.dispose();
  expect(live()).toBe(before);
});

test('what is kept within several scopes outlives all of them', () => {
  const before = live();
  let kept: Tensor | undefined;
  scope(() => {
    const outer = tensor([1]);
    scope(() => {
      kept = keep(outer);
    });
  });
  expect([kept!.disposed, live()]).toEqual([false, before + 1]);
  kept!.dispose();
});

test('a scope with an async body is refused', () => {
  expect(() => scope(async () => 1)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
});

test('host memory is copied: changing it afterwards changes nothing, also while the queue is busy', async () => {
  const host = new Float32Array(1 << 20).fill(1);
  const copies = Array.from({ length: 8 }, (_, i) => {
    host.fill(i);
    return tensor(host);
  });
  host.fill(-1);
  for (const [i, copy] of copies.entries()) {
    const data = (await copy.data()) as Float32Array;
    expect([data[0], data[data.length - 1]]).toEqual([i, i]);
    copy.dispose();
  }
});

test('memory released in a loop is reused', async () => {
  for (let i = 0; i < 50; i++) tensor(new Float32Array(1 << 18)).dispose();
  await native().synchronize('cpu');
  const before = memory().reservedBytes;
  for (let i = 0; i < 500; i++) tensor(new Float32Array(1 << 18)).dispose();
  expect(memory().reservedBytes - before).toBeLessThan(8 << 20);
});
