// Products large enough for Strassen's algorithm, which the CPU backend takes for the forward pass of linear layers.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NativeTensor, native } from '../../lib/native/load';
import { tensor } from '../../lib/tensor/tensor';
import { buildCli } from '../support/built_cli';

const avx512 = existsSync('/proc/cpuinfo') && readFileSync('/proc/cpuinfo', 'utf8').includes('avx512bw');

const read = async (handle: NativeTensor) => new Float32Array(await native().read(handle));
const normals = (count: number, stream: number) =>
  read(native().randomNormal([count], 0, 1, 3, stream, 'cpu'));

/** act(x wᵀ + bias) + residual and the activation's slope at u, in every third row, each number rounded by `round`. */
function plainLinear(
  [x, w, bias, residual]: readonly [Float32Array, Float32Array, Float32Array | null, Float32Array | null],
  [rows, inputs, out]: readonly [number, number, number],
  quickGelu: boolean,
  round: (value: number) => number,
): { y: number[]; slope: number[] } {
  const y: number[] = [];
  const slope: number[] = [];
  for (let i = 0; i < rows; i += 3) {
    for (let j = 0; j < out; j++) {
      let u = 0;
      for (let k = 0; k < inputs; k++) u = round(u + round(x[i * inputs + k]! * w[j * inputs + k]!));
      u = round(u + (bias?.[j] ?? 0));
      const s = 1 / (1 + Math.exp(-1.702 * u));
      slope.push(s + 1.702 * u * s * (1 - s));
      y.push(round((quickGelu ? u * s : u) + (residual?.[i * out + j] ?? 0)));
    }
  }
  return { y, slope };
}

const errors = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a, (value, i) => Math.abs(value - b[i]!));
const largest = (values: number[]) => values.reduce((a, b) => Math.max(a, b), 0);
const rootMeanSquare = (values: number[]) => Math.sqrt(values.reduce((a, b) => a + b * b, 0) / values.length);

/**
 * The plain implementation is one float32 sum after another. Strassen's products are of sums of two numbers, twice as
 * large as those that remain in the end, so errors grow by about that, for small results as for large ones, and once more
 * with each level: 2.4 times the root mean square and 2.5 times the largest were seen with one, 3.4 and 2.4 times with two.
 * Other products keep to a factor of 2.
 */
function expectAsExact(
  actual: ArrayLike<number>,
  plain: ArrayLike<number>,
  exact: ArrayLike<number>,
  levels: number,
): void {
  const [ours, theirs] = [errors(actual, exact), errors(plain, exact)];
  expect(rootMeanSquare(ours)).toBeLessThanOrEqual((levels < 2 ? 3 : 4) * rootMeanSquare(theirs));
  expect(largest(ours)).toBeLessThanOrEqual(4 * largest(theirs));
}

// Halves of one block, of two, and of two narrow ones; of odd rows, rows that cannot be halved, and few rows; quarters.
const sizes = [
  [260, 320, 320, 1],
  [258, 1088, 448, 1],
  [260, 1600, 320, 1],
  [257, 288, 320, 0],
  [132, 768, 512, 1],
  [520, 768, 768, 2],
] as const;

describe.each(sizes)('[%i, %i] by [%i] columns, halved %i times', (rows, inputs, out, levels) => {
  test.each([
    ['alone', false, false, false],
    ['bias, QuickGELU and slope', true, false, true],
    ['bias and residual', true, true, false],
  ])('%s', async (_, withBias, withResidual, quickGelu) => {
    const [x, w] = [await normals(rows * inputs, 1), await normals(out * inputs, 2)];
    const bias = withBias ? await normals(out, 4) : null;
    const residual = withResidual ? await normals(rows * out, 5) : null;
    const exact = plainLinear([x, w, bias, residual], [rows, inputs, out], quickGelu, (value) => value);
    const plain = plainLinear([x, w, bias, residual], [rows, inputs, out], quickGelu, Math.fround);
    const [y, slope] = native().linearForward(
      tensor(x, [rows, inputs]).handle,
      tensor(w, [out, inputs]).handle,
      bias && tensor(bias, [out]).handle,
      residual && tensor(residual, [rows, out]).handle,
      quickGelu ? 'quick_gelu' : 'none',
      quickGelu,
    );
    const computed = async (handle: NativeTensor) =>
      (await read(handle)).filter((_, i) => Math.floor(i / out) % 3 === 0);
    expectAsExact(await computed(y!), plain.y, exact.y, levels);
    if (quickGelu) expectAsExact(await computed(slope!), plain.slope, exact.slope, levels);
  });
});

(avx512 ? test : test.skip)('halves of a product share sums, where rows can be halved', async () => {
  const [rows, inputs, out] = [258, 320, 320];
  const [x, w] = [await normals(rows * inputs, 1), await normals(out * inputs, 2)];
  const multiply = async (count: number) => {
    const [y] = native().linearForward(
      tensor(x.slice(0, count * inputs), [count, inputs]).handle,
      tensor(w, [out, inputs]).handle,
      null,
      null,
      'none',
      false,
    );
    return (await read(y!)).slice(0, (rows - 1) * out);
  };
  const [halved, whole] = [await multiply(rows), await multiply(rows - 1)];
  expect(halved).not.toEqual(whole);
  expect(largest(errors(halved, whole))).toBeLessThan(1e-4);
});

// The limit is read once in a process.
(avx512 ? test.each(sizes) : test.skip.each(sizes))(
  '[%i, %i] by [%i] columns are halved %i times, and less often where the environment says so',
  (rows, inputs, out, levels) => {
    buildCli();
    const script = `const { linear, randomNormal } = require(${JSON.stringify(join(__dirname, '../../dist'))});
      const y = linear(randomNormal([${rows}, ${inputs}], { seed: 1 }), randomNormal([${out}, ${inputs}], { seed: 2 }));
      y.data().then((data) => console.log(require('node:crypto').createHash('sha256').update(data).digest('hex')));`;
    const halvedAtMost = (limit: number) =>
      execFileSync(process.execPath, ['-e', script], {
        encoding: 'utf8',
        env: { ...process.env, NATIVE_DEVICE: 'cpu', NATIVE_STRASSEN: `${limit}` },
      });
    const bits = [0, 1, 2].map(halvedAtMost);
    expect(new Set(bits).size).toBe(levels + 1);
    expect(new Set(bits.slice(levels)).size).toBe(1);
  },
);
