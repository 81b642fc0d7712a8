import { warn } from '../base/warning';

/** The code of the warning. */
export const VIDEO_DAMAGED = 'VIDEO_DAMAGED';

/** Frames that are named. */
const shown = 10;

/**
 * What is wrong with a video whose frames asked for could all be decoded, but may show traces of others that could not;
 * undefined when nothing is.
 *
 * @param damaged numbers of those that could not, ascending
 * @param frameCount frames of the video
 */
export function describeDamage(damaged: ArrayLike<number>, frameCount: number): string | undefined {
  const count = damaged.length;
  if (count === 0) return undefined;
  const more = count > shown ? ` and ${count - shown} more` : '';
  const numbers = `${Array.from(damaged).slice(0, shown).join(', ')}${more} of ${frameCount}`;
  const frames = count === 1 ? `frame ${numbers} is` : `frames ${numbers} are`;
  return `${frames} damaged; pictures behind, up to the next key frame, may show traces of it`;
}

/**
 * Warns of {@link describeDamage} through `process.emitWarning`, with the code `VIDEO_DAMAGED`.
 *
 * @example
 * process.on('warning', (warning) => console.error(warning.message));
 * // clip.mp4: frames 30, 32 of 50 are damaged; pictures behind, up to the next key frame, may show traces of it
 */
export function warnOfDamage(name: string, damaged: ArrayLike<number>, frameCount: number): void {
  const damage = describeDamage(damaged, frameCount);
  if (damage !== undefined) warn(VIDEO_DAMAGED, `${name}: ${damage}`);
}
