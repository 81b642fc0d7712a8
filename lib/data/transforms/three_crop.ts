import { CodedError } from '../../base/error';
import type { Box, Size } from './geometry';

/**
 * Three squares that cover a picture along its long side: left, right, middle (upright pictures: top, bottom,
 * middle).
 * @throws ERR_ARGUMENT when the short side of the picture is not `side`
 */
export function threeCrop([width, height]: Size, side: number): Box[] {
  if (Math.min(width, height) !== side) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `three crops of ${side} need a picture whose short side is ${side}, got ${width}x${height}; resize it first`,
    );
  }
  const stepX = Math.floor((width - side) / 2);
  const stepY = Math.floor((height - side) / 2);
  return [0, 2, 1].map((k): Box => [k * stepX, k * stepY, side, side]);
}
