// Products large enough for Strassen's algorithm, which the CPU backend takes for the forward pass of linear layers.
import { existsSync, readFileSync } from 'node:fs';
import { Philox } from '../../lib/base/philox';
import { type NativeTensor, native } from '../../lib/native/load';
import { tensor } from '../../lib/tensor/tensor';

const avx512 = existsSync('/proc/cpuinfo') && readFileSync('/proc/cpuinfo', 'utf8').includes('avx512bw');

function normals(count: number, stream: number): Float32Array {
  const random = new Philox(3, stream);
  return Float32Array.from({ length: count }, () => random.normal());
}

/** act(x wᵀ + bias) + residual and the activation's slope at u, row by row, each number rounded by `round`. */
function plainLinear(
  [x, w, bias, residual]: readonly [Float32Array, Float32Array, Float32Array | null, Float32Array | null],
  [rows, inputs, out]: readonly [number, number, number],
  quickGelu: boolean,
  round: (value: number) => number,
): { y: Float64Array; slope: Float64Array } {
  const y = new Float64Array(rows * out);
  const slope = new Float64Array(rows * out);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < out; j++) {
      let u = 0;
      for (let k = 0; k < inputs; k++) u = round(u + round(x[i * inputs + k]! * w[j * inputs + k]!));
      u = round(u + (bias?.[j] ?? 0));
      const s = 1 / (1 + Math.exp(-1.702 * u));
      slope[i * out + j] = s + 1.702 * u * s * (1 - s);
      y[i * out + j] = round((quickGelu ? u * s : u) + (residual?.[i * out + j] ?? 0));
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

// Halves of one block and of two, halves of odd sizes, and rows that cannot be halved; quarters.
const sizes = [
  [260, 320, 320, 1],
  [258, 1056, 256, 1],
  [257, 288, 320, 0],
  [388, 512, 512, 2],
] as const;

describe.each(sizes)('[%i, %i] by [%i] columns, halved %i times', (rows, inputs, out, levels) => {
  const operands = [normals(rows * inputs, 1), normals(out * inputs, 2)] as const;
  const [bias, residual] = [normals(out, 4), normals(rows * out, 5)];

  test.each([
    ['alone', null, null, false],
    ['bias, QuickGELU and slope', bias, null, true],
    ['bias and residual', bias, residual, false],
  ] as const)('%s', async (_, bias, residual, quickGelu) => {
    const all = [...operands, bias, residual] as const;
    const exact = plainLinear(all, [rows, inputs, out], quickGelu, (value) => value);
    const plain = plainLinear(all, [rows, inputs, out], quickGelu, Math.fround);
    const [x, w] = [tensor(operands[0], [rows, inputs]), tensor(operands[1], [out, inputs])];
    const [y, slope] = native().linearForward(
      x.handle,
      w.handle,
      bias && tensor(bias, [out]).handle,
      residual && tensor(residual, [rows, out]).handle,
      quickGelu ? 'quick_gelu' : 'none',
      quickGelu,
    );
    const read = async (handle: NativeTensor) => new Float32Array(await native().read(handle));
    expectAsExact(await read(y!), plain.y, exact.y, levels);
    if (quickGelu) expectAsExact(await read(slope!), plain.slope, exact.slope, levels);
  });
});

(avx512 ? test : test.skip)('halves of a product share sums, where rows can be halved', async () => {
  const [rows, inputs, out] = [258, 320, 320];
  const [x, w] = [normals(rows * inputs, 1), normals(out * inputs, 2)];
  const multiply = async (count: number) => {
    const [y] = native().linearForward(
      tensor(x.slice(0, count * inputs), [count, inputs]).handle,
      tensor(w, [out, inputs]).handle,
      null,
      null,
      'none',
      false,
    );
    return new Float32Array(await native().read(y!)).slice(0, (rows - 1) * out);
  };
  const [halved, whole] = [await multiply(rows), await multiply(rows - 1)];
  expect(halved).not.toEqual(whole);
  expect(largest(errors(halved, whole))).toBeLessThan(1e-4);
});
