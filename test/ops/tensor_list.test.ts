import { memory } from '../../lib/native/device';
import { native } from '../../lib/native/load';
import { allFinite, gradNorm, scaleInPlace } from '../../lib/ops/tensor_list';
import { bfloat16Bits, tensor } from '../../lib/tensor/tensor';
import { expectClose } from '../support/check_op';
import { randomDense } from '../support/dense';

// Several chunks, odd sizes, both dtypes.
const shapes = [[3, 7], [40_001], [], [0]];
const values = shapes.map((shape, i) => randomDense(shape, i + 1).data);
const makeList = () =>
  shapes.map((shape, i) =>
    i === 1
      ? tensor(Uint16Array.from(values[i]!, bfloat16Bits), shape, { dtype: 'bfloat16' })
      : tensor(Float32Array.from(values[i]!), shape),
  );

test('gradNorm is the norm of all elements, on any number of threads', async () => {
  const exact = Math.sqrt(values.reduce((sum, v) => sum + v.reduce((a, b) => a + b * b, 0), 0));
  const results = [];
  for (const threads of [1, 2, 3]) {
    native().setThreads(threads);
    results.push(await gradNorm(makeList()).item());
  }
  native().setThreads(2);
  expectClose('norm', [results[0]!], [exact], exact * 2 ** -24);
  expect(results).toEqual([results[0], results[0], results[0]]);
});

test('scaleInPlace changes every element and the versions', async () => {
  const list = makeList();
  scaleInPlace(list, 0.5);
  scaleInPlace(list, tensor([4], []));
  for (const [i, x] of list.entries()) {
    expect(x.version).toBe(2);
    expect(((await x.toArray()) as number[]).toString()).toBe(
      (
        (await tensor(
          Float32Array.from(values[i]!, (v) => v * 2),
          shapes[i]!,
        ).toArray()) as number[]
      ).toString(),
    );
  }
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
  'allFinite finds one %p',
  async (bad) => {
    const list = makeList();
    expect(await allFinite(list).item()).toBe(1);
    const data = new Float32Array(50_000).fill(3e38);
    const big = tensor(data);
    expect(await allFinite([...list, big]).item()).toBe(1);
    for (const place of [0, 16_384, 49_999]) {
      const one = data.slice();
      one[place] = bad;
      expect(await allFinite([...list, tensor(one)]).item()).toBe(0);
    }
  },
);

test('rejects empty lists, integers and factors that are no number', () => {
  const x = tensor([1]);
  expect(() => gradNorm([])).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  expect(() => allFinite([tensor(new Int32Array(1))])).toThrow(
    expect.objectContaining({ code: 'ERR_DTYPE' }),
  );
  expect(() => scaleInPlace([x], tensor([1, 2]))).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
  const integers = tensor(new Int32Array(1));
  const before = memory().liveTensors;
  expect(() => scaleInPlace([integers], 2)).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }));
  expect(memory().liveTensors).toBe(before); // nor is the factor left behind
});
