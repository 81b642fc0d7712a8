import type { Random } from '../random';

/** Whether a clip is mirrored left to right, decided once for all frames. Off (0) where names carry directions. */
export function flip(probability: number, random: Random): boolean {
  return random.uniform() < probability;
}
