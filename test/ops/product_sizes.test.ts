// The three products of a linear layer in sizes that leave blocks, tiles and vectors partly empty, and of numbers that have
// no place in a product of parts: whichever kernel multiplies, a result is that of float32.
import { type DType, type NativeTensor, native } from '../../lib/native/load';
import { sizeOf } from '../support/dense';

const read = async (handle: NativeTensor) =>
  new Float32Array(await native().read(native().cast(handle, 'float32')));
const fromHost = (data: Float32Array, shape: number[]) =>
  native().tensorFromHost(data, shape, 'float32', 'cpu');

async function normals(
  shape: number[],
  stream: number,
  dtype: DType = 'float32',
): Promise<{ handle: NativeTensor; data: Float32Array }> {
  const handle = native().cast(native().randomNormal(shape, 0, 1, 7, stream, 'cpu'), dtype);
  return { handle, data: await read(handle) };
}

/** Numbers of an operand: number p of the sums in row or column i of the result is `data[i * across + p * down]`. */
interface Operand {
  data: Float32Array;
  across: number;
  down: number;
}

/** Compares with sums in float64 of `depth` products, by what float32 promises of each, and the result's `rounding`. */
function expectSums(
  actual: Float32Array,
  shape: [number, number],
  depth: number,
  [a, b]: [Operand, Operand],
  finish: (sum: number, at: number) => number = (sum) => sum,
  rounding = 0,
): void {
  expect(actual).toHaveLength(sizeOf(shape));
  let worst = 0;
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      let [sum, size] = [0, 1];
      for (let p = 0; p < depth; p++) {
        const product = a.data[i * a.across + p * a.down]! * b.data[j * b.across + p * b.down]!;
        sum += product;
        size += Math.abs(product);
      }
      const at = i * shape[1] + j;
      const wanted = finish(sum, at);
      worst = Math.max(worst, (Math.abs(actual[at]! - wanted) - rounding * Math.abs(wanted)) / size);
    }
  }
  expect(worst).toBeLessThan(2 ** -20);
}

// Rows, inputs and outputs; the last is tall enough for several strips of c.
const sizes = [
  [133, 150, 141],
  [34, 270, 97],
  [130, 270, 129],
  [128, 128, 160],
  [431, 130, 133],
] as const;
const products = sizes.flatMap((size) =>
  [['float32', 0] as const, ['bfloat16', 2 ** -8] as const].map((dtype) => [...size, ...dtype] as const),
);

test.each(products)('a layer of [%i, %i] to %i outputs and its gradients, %s', async (...product) => {
  const [rows, inputs, out, dtype, rounding] = product;
  const [x, weight, bias] = await Promise.all([
    normals([rows, inputs], 1, dtype),
    normals([out, inputs], 2, dtype),
    normals([out], 3),
  ]);
  const [du, slope, sum] = await Promise.all([
    normals([rows, out], 4, dtype),
    normals([rows, inputs], 5, dtype),
    normals([out, inputs], 6),
  ]);
  const op = native();
  const [y] = op.linearForward(x.handle, weight.handle, bias.handle, du.handle, 'none', false);
  const forward: [Operand, Operand] = [
    { data: x.data, across: inputs, down: 1 },
    { data: weight.data, across: inputs, down: 1 },
  ];
  expectSums(
    await read(y!),
    [rows, out],
    inputs,
    forward,
    (u, at) => u + bias.data[at % out]! + du.data[at]!,
    rounding,
  );

  const dx = op.linearBackwardInput(du.handle, weight.handle, slope.handle);
  expectSums(
    await read(dx),
    [rows, inputs],
    out,
    [
      { data: du.data, across: out, down: 1 },
      { data: weight.data, across: 1, down: inputs },
    ],
    (u, at) => u * slope.data[at]!,
    rounding,
  );

  const [dweight, dbias] = op.linearBackwardWeight(du.handle, x.handle, null, true, null);
  const gradient = { data: du.data, across: 1, down: out };
  const backward: [Operand, Operand] = [gradient, { data: x.data, across: 1, down: inputs }];
  expectSums(await read(dweight!), [out, inputs], rows, backward);
  const one = { data: new Float32Array([1]), across: 0, down: 0 };
  expectSums(await read(dbias!), [out, 1], rows, [gradient, one]);
  op.linearBackwardWeight(du.handle, x.handle, sum.handle, false, null);
  expectSums(await read(sum.handle), [out, inputs], rows, backward, (u, at) => u + sum.data[at]!);
});

test.each([
  ['float32', 2 ** -20],
  ['bfloat16', 2 ** -8],
] as const)(
  'infinity, NaN and numbers at the ends of the range go where they belong, %s',
  async (dtype, rounding) => {
    const [rows, inputs, out] = [133, 150, 141];
    const [x, w] = [new Float32Array(rows * inputs), new Float32Array(out * inputs)];
    x.fill(0.5);
    w.fill(2);
    // One row of x each, in a block of 32 rows of its own, in either half of the block or of 32 columns. The second is
    // rounded to infinity by fewer bits than float32 has.
    x[1 * inputs + 3] = Number.POSITIVE_INFINITY;
    x[40 * inputs + 140] = 3.4028234663852886e38;
    x[70 * inputs + 149] = Number.NEGATIVE_INFINITY;
    x[120 * inputs] = Number.NaN;
    x.fill(2 ** -120, 60 * inputs, 61 * inputs);
    x.fill(2 ** 120, 61 * inputs, 62 * inputs);
    // A column of zeros, against which infinity is NaN, and one of very small numbers.
    w.fill(0, 7 * inputs, 8 * inputs);
    w.fill(2 ** -60, 8 * inputs, 9 * inputs);
    w[50 * inputs + 20] = Number.POSITIVE_INFINITY;
    const [xs, ws] = [fromHost(x, [rows, inputs]), fromHost(w, [out, inputs])].map((handle) =>
      native().cast(handle, dtype),
    );
    const [y] = native().linearForward(xs!, ws!, null, null, 'none', false);
    const [rounded, weight] = [await read(xs!), await read(ws!)];
    const actual = await read(y!);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < out; j++) {
        let sum = 0;
        for (let p = 0; p < inputs; p++) sum += rounded[i * inputs + p]! * weight[j * inputs + p]!;
        const [value, wanted] = [actual[i * out + j]!, Math.fround(sum)];
        if (!Number.isFinite(wanted)) {
          expect(value).toBe(wanted);
        } else {
          // Below the normal numbers 0 may take their place.
          expect(Math.abs(value - wanted)).toBeLessThanOrEqual(Math.abs(wanted) * rounding + 2 ** -126);
        }
      }
    }
  },
);
