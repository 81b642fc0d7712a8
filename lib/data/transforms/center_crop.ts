import type { Box, Size } from './geometry';

/** The `side` x `side` square in the middle of the picture; odd margins leave the extra pixel right and below. */
export function centerCrop([width, height]: Size, side: number): Box {
  return [Math.floor((width - side) / 2), Math.floor((height - side) / 2), side, side];
}
