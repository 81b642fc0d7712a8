import type { Random } from '../random';
import type { Box, Point, Size } from './geometry';

/** Crop sides as fractions of the short side. */
export const cropScales = [1, 0.875, 0.75, 0.66] as const;

/** A drawn side this close to the input size becomes the input size, which saves a resize. */
const nearPixels = 2;

/**
 * The sizes that a crop is drawn from: every pair of scales at most one step apart, height-major.
 * @returns 10 sizes, in the order in which the reference draws them
 */
export function multiScaleCropSizes([width, height]: Size, inputSize: number): Size[] {
  const sides = cropScales.map((scale) => Math.floor(Math.min(width, height) * scale));
  const snap = (side: number) => (Math.abs(side - inputSize) <= nearPixels ? inputSize : side);
  return sides.flatMap((cropHeight, i) =>
    sides.flatMap((cropWidth, j): Size[] =>
      Math.abs(i - j) <= 1 ? [[snap(cropWidth), snap(cropHeight)]] : [],
    ),
  );
}

/** The five places of a crop: upper left, upper right, lower left, lower right, centre, in whole quarter steps. */
export function fiveOffsets([width, height]: Size, [cropWidth, cropHeight]: Size): Point[] {
  const stepX = Math.floor((width - cropWidth) / 4);
  const stepY = Math.floor((height - cropHeight) / 4);
  return [
    [0, 0],
    [4 * stepX, 0],
    [0, 4 * stepY],
    [4 * stepX, 4 * stepY],
    [2 * stepX, 2 * stepY],
  ];
}

/** Training crop: one of ten sizes, then one of five places. The caller scales it to `inputSize` square. */
export function multiScaleCrop(picture: Size, inputSize: number, random: Random): Box {
  const sizes = multiScaleCropSizes(picture, inputSize);
  const size = sizes[random.integer(sizes.length)]!;
  const offsets = fiveOffsets(picture, size);
  return [...offsets[random.integer(offsets.length)]!, ...size];
}
