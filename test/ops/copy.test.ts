import { arange, cast, full, ones, zeros } from '../../lib/ops/copy';
import { backward } from '../../lib/tensor/autograd';
import { tensor } from '../../lib/tensor/tensor';
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

test('bfloat16 and float16 round to nearest even', async () => {
  const x = tensor([1 + 2 ** -8, 1 + 3 * 2 ** -8, 65520, 2 ** -25]);
  expect(await cast(x, 'bfloat16').toArray()).toEqual([1, 1 + 2 ** -6, 65536, 2 ** -25]);
  expect(await cast(x, 'float16').toArray()).toEqual([
    1 + 2 ** -8,
    1 + 3 * 2 ** -8,
    Number.POSITIVE_INFINITY,
    0,
  ]);
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
