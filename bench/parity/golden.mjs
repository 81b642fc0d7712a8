// The recorded numbers of the official implementation, and how they are compared.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from '../machine.mjs';

/** Modules of the compiled package: `load('io').readCheckpoint`. */
export const load = (name) => createRequire(import.meta.url)(join(root, 'dist', name));

export const goldenPath = (name) => join(root, 'test/fixtures/golden', name);

export const readJson = (name) => JSON.parse(readFileSync(goldenPath(name), 'utf8'));

/** All tensors of a safetensors file: name to { shape, data }. Integers up to 2^53 as numbers. */
export async function readTensors(name) {
  const checkpoint = await load('io').readCheckpoint(goldenPath(name));
  const tensors = new Map();
  for (const [key, raw] of checkpoint.stateDict) {
    const bytes = Uint8Array.from(await raw.data());
    const array = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array }[
      raw.dtype
    ];
    tensors.set(key, { shape: [...raw.shape], data: Array.from(new array(bytes.buffer), Number) });
  }
  await checkpoint.close();
  return tensors;
}

export function largest(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/** Largest |actual - expected|; NaN when the lengths differ or something is no number. */
export function largestDifference(actual, expected) {
  if (actual.length !== expected.length) return Number.NaN;
  let most = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i] - expected[i]);
    if (!(difference <= most)) most = difference;
    if (Number.isNaN(difference)) return Number.NaN;
  }
  return most;
}

/** |actual - expected| / |expected|, Euclidean. */
export function relativeL2(actual, expected) {
  const norm = Math.hypot(...expected);
  return actual.length === expected.length
    ? Math.hypot(...actual.map((v, i) => v - expected[i])) / norm
    : Number.NaN;
}

/** How many of the pairs are not the same, as "wrong of all" and a number for the comparison. */
export function mismatches(pairs) {
  return pairs.filter(([actual, expected]) => JSON.stringify(actual) !== JSON.stringify(expected)).length;
}
