import { add, mul } from '../../lib/ops/binary';
import { embedding, gatherRows } from '../../lib/ops/gather';
import { sum } from '../../lib/ops/reduce';
import { backward } from '../../lib/tensor/autograd';
import { tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense } from '../support/dense';

describe('embedding', () =>
  checkOp({
    run: ([ids, table]) => embedding(ids!, table!),
    reference: ([ids, table]: Dense[]) => {
      const width = table!.shape[1]!;
      return dense(
        [...ids!.shape, width],
        (i) => table!.data[ids!.data[Math.floor(i / width)]! * width + (i % width)]!,
      );
    },
    cases: [
      { name: 'int32', inputs: [{ shape: [3], integers: [2, 0, 4], dtype: 'int32' }, [5, 7]] },
      {
        name: 'int64, repeated ids',
        inputs: [{ shape: [2, 3], integers: [1, 1, 0, 1, 3, 3], dtype: 'int64' }, [4, 130]],
      },
      { name: 'no ids', inputs: [{ shape: [0], integers: [], dtype: 'int32' }, [4, 2]] },
    ],
  }));

describe('gatherRows', () =>
  checkOp({
    run: ([x, index]) => gatherRows(x!, index!),
    reference: ([x, index]: Dense[]) => {
      const [count, length, width] = x!.shape as [number, number, number];
      return dense([count, width], (i) => {
        const n = Math.floor(i / width);
        return x!.data[(n * length + index!.data[n]!) * width + (i % width)]!;
      });
    },
    cases: [
      { name: 'int64', inputs: [[3, 4, 5], { shape: [3], integers: [3, 0, 3], dtype: 'int64' }] },
      { name: 'int32', inputs: [[1, 2, 1], { shape: [1], integers: [1], dtype: 'int32' }] },
    ],
  }));

test('the gradient of a table accumulates over uses and backward passes', async () => {
  const table = tensor([[1], [2], [3]], undefined, { requiresGrad: true });
  const ids = tensor(new Int32Array([0, 2, 2]));
  const step = () => backward(sum(add(embedding(ids, table), mul(embedding(ids, table), 10))));
  step();
  expect(await table.grad!.toArray()).toEqual([[11], [0], [22]]);
  step();
  expect(await table.grad!.toArray()).toEqual([[22], [0], [44]]);
});

test('an index out of range rejects at the next await', async () => {
  const table = tensor(new Float32Array(8), [4, 2]);
  await expect(embedding(tensor(new Int32Array([0, 4])), table).data()).rejects.toMatchObject({
    code: 'ERR_INDEX_RANGE',
    message: expect.stringMatching(/index 1 is 4.*4 rows|index 4 is outside 0 \.\. 3/),
  });
  // The last of so many that several threads look for them.
  const many = new Int32Array(40_000);
  many[many.length - 1] = 4;
  await expect(embedding(tensor(many), table).data()).rejects.toMatchObject({ code: 'ERR_INDEX_RANGE' });
  const x = tensor(new Float32Array(8), [2, 2, 2]);
  await expect(gatherRows(x, tensor(new BigInt64Array([0n, -1n]))).data()).rejects.toMatchObject({
    code: 'ERR_INDEX_RANGE',
  });
});

test('checks shapes and dtypes at the call', () => {
  const table = tensor(new Float32Array(8), [4, 2]);
  expect(() => embedding(tensor([1]), table)).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }));
  expect(() => gatherRows(table, tensor(new Int32Array(4)))).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE' }),
  );
});
