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
