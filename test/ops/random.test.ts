import { Philox } from '../../lib/base/philox';
import { memory } from '../../lib/native/device';
import { native } from '../../lib/native/load';
import { dropPath, randomNormal, randomTruncatedNormal, randomUniform } from '../../lib/ops/random';
import { backward } from '../../lib/tensor/autograd';
import { type Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';
import { expectClose } from '../support/check_op';

const numbers = async (x: { dtype: 'float32' | string; data(): Promise<ArrayLike<number | bigint>> }) =>
  Array.from(await x.data(), Number);

/** The words of a Philox stream as 24-bit uniforms, in order. */
function uniforms(seed: number, stream: number, count: number): number[] {
  const random = new Philox(seed, stream);
  return Array.from({ length: count }, () => (random.bits() >>> 8) / 2 ** 24);
}

test('uniform numbers are the words of the stream, whatever the thread count', async () => {
  const key = { seed: 2 ** 41 + 7, stream: 2 ** 40 + 3 };
  const expected = uniforms(key.seed, key.stream, 9001);
  for (const threads of [1, 2, 3]) {
    native().setThreads(threads);
    expect(await numbers(randomUniform([9001], key))).toEqual(expected);
  }
  native().setThreads(2);
});

test('uniform numbers stay inside the range', async () => {
  // Of float32 numbers there is one in the range; half of the draws are nearer to its upper bound.
  const x = await numbers(randomUniform([100, 100], { seed: 1, low: 5, high: 5 + 2 ** -21 }));
  expect(new Set(x)).toEqual(new Set([5]));
});

test('normal numbers are the Box-Muller pairs of the words', async () => {
  const u = uniforms(3, 4, 12);
  const expected = u.map((_, i) => {
    const [first, second] = i % 2 === 0 ? [u[i]!, u[i + 1]!] : [u[i - 1]!, u[i]!];
    const radius = Math.sqrt(-2 * Math.log(1 - first));
    const angle = 2 * Math.PI * second;
    return 2 + 0.5 * radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
  });
  const x = await numbers(randomNormal([2, 6], { seed: 3, stream: 4, mean: 2, std: 0.5 }));
  expectClose('normal', x, expected, 1e-6);
});

// Moments of n draws lie within five standard errors.
function moments(x: number[]) {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return { mean, variance: x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length };
}

test('normal and truncated normal have the moments of their distributions', async () => {
  const n = 100_000;
  const plain = moments(await numbers(randomNormal([n], { seed: 11 })));
  expect(Math.abs(plain.mean)).toBeLessThan(5 / Math.sqrt(n));
  expect(Math.abs(plain.variance - 1)).toBeLessThan(5 * Math.sqrt(2 / n));

  const x = await numbers(randomTruncatedNormal([n], { seed: 11, low: -1, high: 1 }));
  expect(Math.min(...x.slice(0, 5000))).toBeGreaterThanOrEqual(-1);
  expect(x.every((value) => value >= -1 && value <= 1)).toBe(true);
  // Variance of a standard normal cut at one deviation: 1 - 2 phi(1) / (2 Phi(1) - 1).
  const cut = moments(x);
  expect(Math.abs(cut.mean)).toBeLessThan(5 * Math.sqrt(0.2911 / n));
  expect(Math.abs(cut.variance - 0.29112)).toBeLessThan(0.005);
});

test('the tails of the truncated normal are those of the quantile function', async () => {
  // 1 - Phi(3) = 0.0013499: about 135 of 100,000 draws lie above three deviations.
  const x = await numbers(randomTruncatedNormal([100_000], { seed: 2, low: -8, high: 8 }));
  const beyond = x.filter((value) => value > 3).length;
  expect(Math.abs(beyond - 135)).toBeLessThan(60);
});

// The probability of more than t, as a share of the density there, is 1 / (t + 1 / (t + 2 / (t + 3 / ...))).
test.each([
  [-30, -4],
  [-30, -7],
  [4, 30],
  [9, 30],
  [36, 60],
])('the truncated normal is exact from %d to %d deviations', async (low, high) => {
  const logTail = (t: number) => {
    let fraction = t;
    for (let k = 200; k > 0; k--) fraction = t + k / fraction;
    return (-t * t) / 2 - Math.log(fraction);
  };
  const x = await numbers(randomTruncatedNormal([400], { seed: 5, stream: 6, low, high }));
  const nearest = Math.min(Math.abs(low), Math.abs(high));
  const shares = x.map((value) => Math.exp(logTail(Math.abs(value)) - logTail(nearest)));
  const expected = uniforms(5, 6, 400).map((u) => (high < 0 ? u : 1 - u));
  expectClose('share beyond', shares, expected, 1e-4);
});

test('dropPath drops whole samples by the words of the stream and scales the others', async () => {
  const rate = 0.4;
  const u = uniforms(5, 9, 7);
  const expected = u.flatMap((value) =>
    Array(6).fill(value >= rate ? Math.fround(1 / (1 - Math.fround(rate))) : 0),
  );
  const options = { rate, seed: 5, stream: 9, samples: 7 };
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const ones = tensor(Array(42).fill(1), [14, 3], { dtype, requiresGrad: true });
    const y = dropPath(ones, options);
    const tolerance = dtype === 'float32' ? 1e-7 : 2 ** -8;
    expectClose('forward', toNumbers(dtype, await y.data()), expected, tolerance);
    backward(y, tensor(Array(42).fill(1), [14, 3], { dtype }));
    expectClose('gradient', toNumbers(dtype, await ones.grad!.data()), expected, tolerance);
  }
  expect(new Set(expected).size).toBe(2);
});

test('dropPath drops and scales all of a large sample', async () => {
  const samples = 5;
  const size = 9000;
  const x = tensor(
    Float32Array.from({ length: samples * size }, (_, i) => i + 1),
    [samples, size],
  );
  const y = await numbers(dropPath(x, { rate: 0.5, seed: 5, stream: 9, samples }));
  const kept = uniforms(5, 9, samples).map((value) => value >= 0.5);
  expect(new Set(kept).size).toBe(2);
  expect(y).toEqual(y.map((_, i) => (kept[Math.floor(i / size)] ? 2 * (i + 1) : 0)));
});

test('dropPath adds the offset on the device to the stream, forward and backward', async () => {
  const offset = tensor(BigInt64Array.of(2n ** 40n + 5n), []);
  const draw = async (key: { stream: number; offset?: Tensor }) => {
    const ones = tensor(Array(64).fill(1), [32, 2], { requiresGrad: true });
    const y = dropPath(ones, { rate: 0.5, seed: 5, samples: 32, ...key });
    backward(y, tensor(Array(64).fill(1), [32, 2]));
    return [await y.toArray(), await ones.grad!.toArray()];
  };
  expect(await draw({ stream: 4, offset })).toEqual(await draw({ stream: 2 ** 40 + 9 }));
  const bad = tensor([1], []);
  expect(() => dropPath(tensor([1, 2]), { rate: 0.5, seed: 1, stream: 0, samples: 2, offset: bad })).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE' }),
  );
});

test('dropPath at rate 0 copies nothing and passes the gradient on', async () => {
  const x = tensor([1, 2], [2], { requiresGrad: true });
  const before = memory().liveTensors;
  const y = dropPath(x, { rate: 0, seed: 1, stream: 0, samples: 2 });
  expect(memory().liveTensors).toBeLessThanOrEqual(before);
  backward(y, tensor([3, 4]));
  expect(await x.grad!.toArray()).toEqual([3, 4]);
});

test('rejects rates, samples and keys out of range', () => {
  const x = tensor(new Float32Array(6), [3, 2]);
  const key = { seed: 1, stream: 0 };
  const code = (value: string) => expect.objectContaining({ code: value });
  expect(() => dropPath(x, { ...key, rate: 1, samples: 3 })).toThrow(code('ERR_ARGUMENT'));
  expect(() => dropPath(x, { ...key, rate: 0.5, samples: 2 })).toThrow(code('ERR_SHAPE'));
  expect(() => randomUniform([2], { seed: -1 })).toThrow(code('ERR_ARGUMENT'));
  expect(() => randomUniform([2], { seed: 1, low: 1, high: 0 })).toThrow(code('ERR_ARGUMENT'));
  expect(() => randomTruncatedNormal([2], { seed: 1, low: 1, high: 1 })).toThrow(code('ERR_ARGUMENT'));
  for (const low of [-40, 38])
    expect(() => randomTruncatedNormal([2], { seed: 1, low, high: low + 1 })).toThrow(
      /37 standard deviations/,
    );
});
