/**
 * The classes of the synthetic action data set, and which of them training never sees. Names are plain English, made of
 * a colour, a shape and a motion, so that a model which reads them can name combinations it has not met.
 */

/** `easy`: squares, told by what the set of frames shows. `hard`: circles, told only by the order of the frames. */
export type Specification = 'easy' | 'hard';

/** One class: a coloured shape and what it does. */
export interface SyntheticClass {
  specification: Specification;
  color: keyof typeof colors;
  motion: string;
  /** As in "red square moving sideways". */
  name: string;
}

/** RGB values; the hard specification uses the first six. */
export const colors = {
  red: [225, 40, 40],
  green: [40, 175, 60],
  blue: [50, 80, 235],
  yellow: [235, 215, 45],
  purple: [160, 50, 200],
  cyan: [50, 210, 220],
  orange: [245, 140, 30],
  white: [245, 245, 245],
} as const;

/** Motions of the easy squares. */
export const easyMotions = [
  'standing still',
  'moving sideways',
  'moving vertically',
  'moving around',
  'pulsing',
  'blinking',
] as const;

/** Motions of the hard circles: neighbours are each other's time reversal. */
export const hardMotions = [
  'moving right',
  'moving left',
  'moving down',
  'moving up',
  'growing',
  'shrinking',
] as const;

/** Held out per colour c: the motions m with (m - c) mod 6 among these, so every colour and every motion is seen. */
const heldOut: Record<Specification, readonly number[]> = { easy: [0, 2], hard: [0] };

/**
 * Classes of the wanted specifications, seen and unseen: easy 32 and 16, hard 30 and 6.
 *
 * @example
 * const { seen } = syntheticClasses(['easy']);
 * seen[0]; // { specification: 'easy', color: 'red', motion: 'moving sideways', name: 'red square moving sideways' }
 */
export function syntheticClasses(specifications: readonly Specification[]): {
  seen: SyntheticClass[];
  unseen: SyntheticClass[];
} {
  const seen: SyntheticClass[] = [];
  const unseen: SyntheticClass[] = [];
  for (const specification of specifications) {
    const easy = specification === 'easy';
    const motions = easy ? easyMotions : hardMotions;
    const names = Object.keys(colors).slice(0, easy ? 8 : 6) as (keyof typeof colors)[];
    names.forEach((color, c) => {
      motions.forEach((motion, m) => {
        const name = `${color} ${easy ? 'square' : 'circle'} ${motion}`;
        const group = heldOut[specification].includes((m - c + 12) % 6) ? unseen : seen;
        group.push({ specification, color, motion, name });
      });
    });
  }
  return { seen, unseen };
}
