import {
  defaultDevice,
  float32MatmulPrecision,
  memory,
  setFloat32MatmulPrecision,
  synchronize,
} from '../../lib/native/device';
import { RecordedForward } from '../../lib/nn/recorded_forward';
import { linear, matmul, randomNormal, sum } from '../../lib/ops';
import { backward } from '../../lib/tensor/autograd';
import { scope } from '../../lib/tensor/scope';
import type { Tensor } from '../../lib/tensor/tensor';

// tf32 has 10 bits behind the point: two rounded factors are off by 2^-11 each. CUDA devices from 8.0 on, as the emulated
// one, take it up; the CPU does not.
const onCuda = defaultDevice() === 'cuda';
const [M, N, K] = [72, 52, 96];
const random = (shape: number[], stream: number, requiresGrad = false) => {
  const x = randomNormal(shape, { seed: 3, stream });
  x.requiresGrad = requiresGrad;
  return x;
};

afterEach(() => setFloat32MatmulPrecision('highest'));

/** The values of work in either precision. */
async function both(work: () => readonly Tensor[]): Promise<[number[][], number[][]]> {
  const found: number[][][] = [];
  for (const precision of ['highest', 'high'] as const) {
    setFloat32MatmulPrecision(precision);
    expect(float32MatmulPrecision()).toBe(precision);
    const results = scope(work);
    found.push(await Promise.all(results.map(async (one) => [...(await one.data())].map(Number))));
    for (const one of results) one.dispose();
  }
  return found as [number[][], number[][]];
}

/** Sums of K random products of rounded factors: of the size of sqrt(K), errors likewise. */
function expectRounded(exact: readonly number[], rounded: readonly number[], terms: number) {
  const errors = exact.map((value, i) => Math.abs(value - rounded[i]!));
  if (!onCuda) return expect(rounded).toEqual(exact);
  expect(Math.max(...errors)).toBeLessThan(6 * Math.sqrt(terms) * 2 ** -11);
  expect(Math.max(...errors)).toBeGreaterThan(0.1 * Math.sqrt(terms) * 2 ** -11);
}

test('off at the start', () => expect(float32MatmulPrecision()).toBe('highest'));

test.each([
  [false, false],
  [false, true],
  [true, false],
  [true, true],
])(
  'products with a transposed: %p, b transposed: %p, are of factors rounded to tf32 if allowed',
  async (transposeA, transposeB) => {
    const a = random(transposeA ? [K, M] : [M, K], 1);
    const b = random(transposeB ? [N, K] : [K, N], 2);
    const [exact, rounded] = await both(() => [matmul(a, b, { transposeA, transposeB })]);
    expectRounded(exact[0]!, rounded[0]!, K);
    for (const x of [a, b]) x.dispose();
  },
);

test('a linear layer and its gradients; what is no product keeps its bits', async () => {
  await synchronize();
  const before = memory().liveTensors;
  const [exact, rounded] = await both(() => {
    const x = random([M, K], 1, true);
    const weight = random([N, K], 2, true);
    const bias = random([N], 3, true);
    const residual = random([M, N], 4, true);
    const y = linear(x, weight, bias, { residual });
    backward(sum(y));
    return [y, ...[x, weight, bias, residual].map(({ grad }) => grad!.detach())];
  });
  expectRounded(exact[0]!, rounded[0]!, K);
  expectRounded(exact[1]!, rounded[1]!, N); // of ones and weights
  expectRounded(exact[2]!, rounded[2]!, M);
  expect(rounded[3]!.every((value) => value === M)).toBe(true);
  expect(rounded[4]).toEqual(exact[4]);
  await synchronize();
  expect(memory().liveTensors).toBe(before);
});

test('recorded work is recorded anew in another precision', async () => {
  const weight = random([N, K], 2);
  const x = random([M, K], 1);
  const recorded = new RecordedForward(
    (input: Tensor) => ({ y: linear(input, weight) }),
    () => [weight],
  );
  const rows: number[][] = [];
  for (const precision of ['highest', 'highest', 'high', 'high', 'high', 'highest'] as const) {
    setFloat32MatmulPrecision(precision);
    const { y } = recorded.run(x);
    rows.push([...(await y.data())].map(Number));
    y.dispose();
  }
  expect(rows[1]).toEqual(rows[0]);
  expect(rows[5]).toEqual(rows[0]);
  expectRounded(rows[0]!, rows[2]!, K);
  for (const row of rows.slice(3, 5)) expect(row).toEqual(rows[2]);
  for (const one of [recorded, weight, x]) one.dispose();
});

test.each(['medium', 'HIGH', '', undefined, null, true, {}])('%p is no precision', (word) => {
  expect(() => setFloat32MatmulPrecision(word as 'high')).toThrow(
    expect.objectContaining({
      code: 'ERR_ARGUMENT',
      message: expect.stringContaining("'highest' or 'high'"),
    }),
  );
  expect(float32MatmulPrecision()).toBe('highest');
});
