import { Philox } from '../../lib/base/philox';

/** A float64 array with a shape: what reference implementations take and return. */
export interface Dense {
  shape: number[];
  data: Float64Array;
}

export function dense(shape: number[], fill: (index: number) => number = () => 0): Dense {
  const size = shape.reduce((a, b) => a * b, 1);
  return { shape, data: Float64Array.from({ length: size }, (_, i) => fill(i)) };
}

/** Normal numbers that are exact in bfloat16, so that every dtype starts from the same values. */
export function randomDense(shape: number[], seed: number, scale = 1): Dense {
  const random = new Philox(seed, 77);
  return dense(shape, () => exactInBfloat16(random.normal() * scale));
}

const view = new DataView(new ArrayBuffer(4));

export function exactInBfloat16(value: number): number {
  view.setFloat32(0, value);
  view.setUint32(0, (view.getUint32(0) + 0x8000) & 0xffff0000);
  return view.getFloat32(0);
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** f(a, b) with NumPy broadcasting. */
export function broadcast(a: Dense, b: Dense, f: (a: number, b: number) => number): Dense {
  const rank = Math.max(a.shape.length, b.shape.length);
  const pad = (shape: number[]) => [...Array(rank - shape.length).fill(1), ...shape] as number[];
  const [left, right] = [pad(a.shape), pad(b.shape)];
  const shape = left.map((size, d) => (size === 1 ? right[d]! : size));
  const [fromLeft, fromRight] = [positions(shape, left), positions(shape, right)];
  return dense(shape, (i) => f(a.data[fromLeft[i]!]!, b.data[fromRight[i]!]!));
}

/** f of the values over `axes` (all when undefined). */
export function reduceDense(
  x: Dense,
  axes: number | readonly number[] | undefined,
  keepDims: boolean,
  f: (values: number[]) => number,
): Dense {
  const list = typeof axes === 'number' ? [axes] : (axes ?? x.shape.map((_, d) => d));
  const reduced = new Set(list.map((axis) => (axis < 0 ? axis + x.shape.length : axis)));
  const kept = x.shape.map((size, d) => (reduced.has(d) ? 1 : size));
  const groups: number[][] = Array.from({ length: sizeOf(kept) }, () => []);
  const group = positions(x.shape, kept);
  x.data.forEach((value, i) => {
    groups[group[i]!]!.push(value);
  });
  const y = dense(kept, (i) => f(groups[i]!));
  return keepDims ? y : { shape: x.shape.filter((_, d) => !reduced.has(d)), data: y.data };
}

const known = new Map<string, Int32Array>();

// For each element of `shape`, its place in `small`, which has size 1 where it is broadcast. Remembered, because
// finite differences ask for the same shapes again and again.
function positions(shape: readonly number[], small: readonly number[]): Int32Array {
  const key = `${shape} ${small}`;
  let found = known.get(key);
  if (!found) {
    const place = (i: number) =>
      indexOf(i, shape).reduce((offset, k, d) => offset * small[d]! + (small[d] === 1 ? 0 : k), 0);
    found = Int32Array.from({ length: sizeOf(shape) }, (_, i) => place(i));
    known.set(key, found);
  }
  return found;
}

/** The coordinates of element i of a row-major array. */
export function indexOf(i: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  for (let d = shape.length - 1; d >= 0; d--) {
    index[d] = i % shape[d]!;
    i = Math.floor(i / shape[d]!);
  }
  return index;
}
