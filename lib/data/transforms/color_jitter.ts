import type { FrameJitter } from '../../native/video';
import { type Random, uniformIn } from '../random';

/** Factor ranges: brightness and contrast +-0.4, saturation +-0.2 around 1; hue +-0.1 turns around 0. */
export const jitterRanges = {
  brightness: [0.6, 1.4],
  contrast: [0.6, 1.4],
  saturation: [0.8, 1.2],
  hue: [-0.1, 0.1],
} as const;

/**
 * Colour jitter of a clip: happens with `probability`, decided once; its order of operations and its factors are drawn
 * anew for each frame (so does the reference).
 * @returns one entry per frame, or null when the clip keeps its colours
 */
export function colorJitter(frames: number, probability: number, random: Random): FrameJitter[] | null {
  if (random.uniform() >= probability) return null;
  return Array.from({ length: frames }, () => ({
    order: random.permutation(4),
    brightness: uniformIn(random, ...jitterRanges.brightness),
    contrast: uniformIn(random, ...jitterRanges.contrast),
    saturation: uniformIn(random, ...jitterRanges.saturation),
    hue: uniformIn(random, ...jitterRanges.hue),
  }));
}
