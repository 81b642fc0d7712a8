import { Philox } from '../../lib/base/philox';
import { memory } from '../../lib/native/device';
import type { DType } from '../../lib/native/load';
import { backward } from '../../lib/tensor/autograd';
import { bfloat16Bits, type Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';
import { type Dense, randomDense, sizeOf } from './dense';

/** An input of a case: a shape of random normal numbers, given float64 values, or fixed integers. */
export type CaseInput =
  | number[]
  | { shape: number[]; scale?: number; values?: number[]; dtype?: 'float32' }
  | { shape: number[]; integers: number[]; dtype?: 'int32' | 'int64' };

export interface OpCase {
  name: string;
  inputs: CaseInput[];
}

export interface OpCheck {
  /** Runs the op under test. */
  run: (inputs: Tensor[], index: number) => Tensor;
  /** The same in float64. Integer inputs arrive as their values. */
  reference: (inputs: Dense[], index: number) => Dense;
  cases: OpCase[];
  /** Default float32 and bfloat16. Inputs with a fixed dtype keep it. */
  dtypes?: DType[];
  /** False for an op without a derivative. */
  gradient?: boolean;
  /** How many times the rounding noise of the inputs an error may be (see `tolerances`). Default 4. */
  slack?: number;
}

const unitRoundoff: Partial<Record<DType, number>> = { float32: 2 ** -24, bfloat16: 2 ** -9 };

/**
 * Checks an op on every case and dtype: the forward against the float64 reference, gradients against central
 * differences of that reference, and that no tensor is left behind.
 *
 * The tolerance is computed, not chosen: rounding every input once in the dtype moves the reference by some amount,
 * and no implementation can promise less; `slack` times that movement (plus one rounding of the result) is allowed.
 */
export function checkOp(op: OpCheck): void {
  for (const [index, item] of op.cases.entries()) {
    for (const dtype of op.dtypes ?? (['float32', 'bfloat16'] as DType[])) {
      test(`${item.name}, ${dtype}`, () => checkCase(op, item, index, dtype));
    }
  }
}

/** The body of one test of {@link checkOp}; rejects when the op is wrong. */
export async function checkCase(op: OpCheck, item: OpCase, index: number, dtype: DType): Promise<void> {
  const before = memory().liveTensors;
  const values = item.inputs.map((input, i) => valuesOf(input, 100 * index + i + 1));
  const inputs = item.inputs.map((input, i) => makeTensor(input, values[i]!, dtype));
  const expected = op.reference(values, index);
  const wantGradient = op.gradient !== false && inputs.some((input) => input.requiresGrad);

  const result = op.run(inputs, index);
  expect([...result.shape]).toEqual(expected.shape);
  const precision = isFloat(result.dtype) ? result.dtype : 'float32';
  const noise = noiseOf((x) => op.reference(x, index).data, values, item.inputs, unitRoundoff[dtype]!);
  const allowed = (op.slack ?? 4) * (noise + unitRoundoff[precision]! * largest(expected.data));
  expectClose(`${item.name} forward`, toNumbers(result.dtype, await result.data()), expected.data, allowed);

  if (wantGradient) {
    const cotangent = randomDense([...result.shape], 999);
    const gradient = makeTensor({ shape: [...result.shape], dtype: undefined }, cotangent, result.dtype);
    gradient.requiresGrad = false;
    backward(result, gradient);
    gradient.dispose();
    for (const [i, input] of inputs.entries()) {
      if (!input.requiresGrad) continue;
      if (!input.grad && sizeOf(input.shape) === 0) continue;
      if (!input.grad) throw new Error(`${item.name}: input ${i} received no gradient`);
      const slope = (x: Dense[]) => finiteDifferences(op, x, index, i, cotangent);
      const wanted = slope(values);
      const actual = toNumbers(input.grad.dtype, await input.grad.data());
      const picked = wanted.indices.map((k) => actual[k]!);
      const gradientNoise = noiseOf((x) => slope(x).values, values, item.inputs, unitRoundoff[dtype]!, 2);
      const bound = (op.slack ?? 4) * (gradientNoise + unitRoundoff[dtype]! * largest(wanted.values)) + 1e-7;
      expectClose(`${item.name} gradient of input ${i}`, picked, wanted.values, bound);
    }
  }
  result.dispose();
  for (const input of inputs) input.dispose();
  expect(memory().liveTensors).toBe(before);
}

function isFloat(dtype: DType): boolean {
  return dtype in unitRoundoff;
}

function valuesOf(input: CaseInput, seed: number): Dense {
  if (Array.isArray(input)) return randomDense(input, seed);
  if ('integers' in input) return { shape: input.shape, data: Float64Array.from(input.integers) };
  if (input.values) return { shape: input.shape, data: Float64Array.from(input.values) };
  return randomDense(input.shape, seed, input.scale ?? 1);
}

function makeTensor(input: CaseInput, value: Dense, dtype: DType): Tensor {
  if (!Array.isArray(input) && 'integers' in input) {
    const wide = input.dtype === 'int64';
    const data = wide ? BigInt64Array.from(input.integers, BigInt) : Int32Array.from(input.integers);
    return tensor(data, value.shape);
  }
  const own = (!Array.isArray(input) && input.dtype) || dtype;
  const data =
    own === 'bfloat16' ? Uint16Array.from(value.data, bfloat16Bits) : Float32Array.from(value.data);
  return tensor(data, value.shape, { dtype: own, requiresGrad: true });
}

// How far the result moves when every float input is rounded once: the largest of a few random roundings.
function noiseOf(
  f: (x: Dense[]) => Float64Array | number[],
  values: Dense[],
  inputs: CaseInput[],
  unit: number,
  draws = 4,
): number {
  const base = f(values);
  let noise = 0;
  for (let draw = 0; draw < draws; draw++) {
    const random = new Philox(draw, 5);
    const moved = values.map((value, i) => {
      const input = inputs[i]!;
      if (!Array.isArray(input) && 'integers' in input) return value;
      return { shape: value.shape, data: value.data.map((x) => x * (1 + unit * (2 * random.uniform() - 1))) };
    });
    const other = f(moved);
    base.forEach((x: number, k: number) => {
      noise = Math.max(noise, Math.abs(x - other[k]!));
    });
  }
  return noise;
}

const maxDifferences = 24;

// d(sum(cotangent * f))/d(input i) at up to `maxDifferences` elements, the first and the last among them.
function finiteDifferences(op: OpCheck, values: Dense[], index: number, i: number, cotangent: Dense) {
  const last = values[i]!.data.length - 1;
  const count = Math.min(last + 1, maxDifferences);
  const indices = Array.from({ length: count }, (_, k) => Math.round((k * last) / Math.max(1, count - 1)));
  const loss = (x: Dense[]) =>
    op.reference(x, index).data.reduce((sum, v, k) => sum + v * cotangent.data[k]!, 0);
  const slopes = indices.map((k) => {
    const step = 1e-5 * Math.max(1, Math.abs(values[i]!.data[k]!));
    const at = (delta: number) => {
      const data = Float64Array.from(values[i]!.data);
      data[k]! += delta;
      return loss(values.map((value, j) => (j === i ? { shape: value.shape, data } : value)));
    };
    return (at(step) - at(-step)) / (2 * step);
  });
  return { indices, values: slopes };
}

function largest(values: ArrayLike<number>): number {
  let result = 0;
  for (let i = 0; i < values.length; i++) result = Math.max(result, Math.abs(values[i]!));
  return result;
}

/** Fails with the worst element when any differs by more than `allowed` (or is not a number). */
export function expectClose(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  allowed: number,
): void {
  if (actual.length !== expected.length)
    throw new Error(`${what}: ${actual.length} elements, expected ${expected.length}`);
  let worst = -1;
  let difference = allowed;
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i]! - expected[i]!);
    if (!(d <= difference)) {
      worst = i;
      difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
    }
  }
  if (worst >= 0) {
    throw new Error(
      `${what}: element ${worst} is ${actual[worst]}, expected ${expected[worst]} ` +
        `(off by ${difference.toExponential(2)}, allowed ${allowed.toExponential(2)})`,
    );
  }
}
