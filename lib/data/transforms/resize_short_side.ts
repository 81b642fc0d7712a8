import type { Size } from './geometry';

/**
 * Size after scaling the short side to `shortSide` with the aspect ratio kept: int(side * factor + 0.5).
 *
 * @example
 * resizeShortSide([426, 240], 256); // [454, 256]
 */
export function resizeShortSide([width, height]: Size, shortSide: number): Size {
  const factor = shortSide / Math.min(width, height);
  return [Math.floor(width * factor + 0.5), Math.floor(height * factor + 0.5)];
}

/** The short side from which a square of `inputSize` is cut: 256 for 224, 384 for 336. */
export function shortSideFor(inputSize: number): number {
  return Math.floor((256 / 224) * inputSize);
}
