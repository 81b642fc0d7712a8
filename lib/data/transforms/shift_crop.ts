import type { Random } from '../random';
import type { Box, Size } from './geometry';

/**
 * A `side` x `side` square at a random place, each place equally likely: shifts without a change of scale, for small
 * pictures and for classes that scale would confuse (growing, shrinking).
 */
export function shiftCrop([width, height]: Size, side: number, random: Random): Box {
  const left = random.integer(width - side + 1);
  const top = random.integer(height - side + 1);
  return [left, top, side, side];
}
