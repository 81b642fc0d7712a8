import { defaultDevice } from '../../lib/native/device';
import { native } from '../../lib/native/load';
import { arange, cast, full, ones, zeros } from '../../lib/ops/copy';
import { backward } from '../../lib/tensor/autograd';
import { bfloat16Bits, float16Bits, Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import type { Dense } from '../support/dense';

describe('cast to float32 and back', () =>
  checkOp({
    run: ([x]) => cast(x!, 'float32'),
    reference: ([x]: Dense[]) => x!,
    cases: [
      { name: 'matrix', inputs: [[3, 7]] },
      { name: 'empty', inputs: [[0]] },
    ],
  }));

test.each(['bfloat16', 'float16'] as const)(
  '%s rounds to nearest even, at every size and sign',
  async (dtype) => {
    // Halfway between two numbers and beside it, the ends of the range, numbers below the normal ones.
    const sizes = [
      ...[1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20],
      ...[65504, 65519, 65520, 65521, 1e6, 3.3895313892515355e38, 3.4028234663852886e38],
      ...[2 ** -14, 2 ** -15, 3 * 2 ** -24, 1.5 * 2 ** -24, 2 ** -25, 2 ** -26, 0, Number.POSITIVE_INFINITY],
    ];
    const numbers = Float32Array.from([...sizes, ...sizes.map((x) => -x)]);
    // The bit that tells this NaN from infinity is cut off.
    const bytes = new Uint32Array([...new Uint32Array(numbers.buffer), 0x7f800001]);
    const x = tensor(new Float32Array(bytes.buffer));
    const bits = dtype === 'bfloat16' ? bfloat16Bits : float16Bits;
    const data = Array.from((await cast(x, dtype).data()) as Uint16Array);
    expect(data.slice(0, -1)).toEqual(Array.from(numbers, bits));
    expect(toNumbers(dtype, Uint16Array.of(data.at(-1)!))).toEqual([Number.NaN]);
    const wide = (await cast(cast(x, dtype), 'float32').data()) as Float32Array;
    expect(Array.from(wide)).toEqual(toNumbers(dtype, Uint16Array.from(data)));
  },
);

/** Elements that several threads of the CPU share; an emulated device takes long for as many. */
const large = defaultDevice() === 'cpu' ? 33_001 : 301;

test('every dtype is cast to every other, in all of a large tensor', async () => {
  const dtypes = ['float32', 'bfloat16', 'float16', 'int64', 'int32', 'uint8'] as const;
  const values = Array.from({ length: large }, (_, i) => i % 251);
  const all = dtypes.map((dtype) => tensor(values, undefined, { dtype }));
  for (const x of all) {
    for (const wanted of all) {
      const y = new Tensor(native().cast(x.handle, wanted.dtype)); // to its own too
      const [actual, expected] = [await y.data(), await wanted.data()].map(({ buffer }) =>
        Buffer.from(buffer),
      );
      expect([x.dtype, y.dtype, actual!.equals(expected!)]).toEqual([x.dtype, wanted.dtype, true]);
      y.dispose();
    }
  }
  for (const x of all) x.dispose();
});

test('accumulate and fill reach all of a large tensor', async () => {
  for (const dtype of ['float32', 'bfloat16'] as const) {
    for (const from of ['float32', 'bfloat16'] as const) {
      const [y, x] = [full([large], 2, { dtype }), full([large], 1, { dtype: from })];
      native().accumulate(y.handle, x.handle);
      expect(new Set(toNumbers(dtype, await y.data()))).toEqual(new Set([3]));
      y.dispose();
      x.dispose();
    }
  }
});

test('integers of floats end where their range does, and NaN becomes 0', async () => {
  const numbers = [Number.NaN, Infinity, -Infinity, 255.5, 256, -0.5, -1, 3e9, -3e9, 1e19, -1e19];
  // More of them than a vector has elements, and than the last ones of a loop.
  const x = tensor(Array.from({ length: 10 }, () => numbers).flat());
  const of = async (dtype: 'uint8' | 'int32' | 'int64') => {
    const data = Array.from(await cast(x, dtype).data(), Number);
    const first = data.slice(0, numbers.length);
    expect(data).toEqual(Array.from({ length: 10 }, () => first).flat());
    return first;
  };
  expect(await of('uint8')).toEqual([0, 255, 0, 255, 255, 0, 0, 255, 0, 255, 0]);
  const [least, most] = [-(2 ** 31), 2 ** 31 - 1];
  expect(await of('int32')).toEqual([0, most, least, 255, 256, 0, -1, most, least, most, least]);
  const end = 2 ** 63; // as close as a number comes to it
  expect(await of('int64')).toEqual([0, end, -end, 255, 256, 0, -1, 3e9, -3e9, end, -end]);
});

test('integers truncate toward zero and end the gradient', async () => {
  const x = tensor([1.9, -1.9], [2], { requiresGrad: true });
  const y = cast(x, 'int32');
  expect(await y.toArray()).toEqual([1, -1]);
  const gradient = tensor(new Int32Array(2));
  expect(() => backward(y, gradient)).toThrow(expect.objectContaining({ code: 'ERR_NO_GRADIENT' }));
});

test('constants and ranges', async () => {
  expect(await full([2, 1], 1.5, { dtype: 'bfloat16' }).toArray()).toEqual([[1.5], [1.5]]);
  expect(await zeros([2], { dtype: 'int64' }).toArray()).toEqual([0, 0]);
  expect(ones([2], { requiresGrad: true }).requiresGrad).toBe(true);
  expect(await ones([]).item()).toBe(1);
  expect(await arange(2, 5).toArray()).toEqual([2, 3, 4]);
  expect(await arange(0, 3, { dtype: 'int32' }).data()).toEqual(new Int32Array([0, 1, 2]));
  expect(arange(3, 3).shape).toEqual([0]);
});
