import type { Random } from '../random';

/** Whether a clip loses its colours, decided once for all frames. */
export function grayScale(probability: number, random: Random): boolean {
  return random.uniform() < probability;
}
