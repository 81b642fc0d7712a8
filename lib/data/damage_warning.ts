import { type VideoHandle, videoAddon } from '../native/video';

/** The code of the warning. */
export const VIDEO_DAMAGED = 'VIDEO_DAMAGED';

/** Frames that are named. */
const shown = 10;

/**
 * What is wrong with a video whose frames asked for could all be decoded, but may show traces of others that could not;
 * undefined when nothing is. To be called before the video is closed.
 */
export function describeDamage(video: VideoHandle): string | undefined {
  const damaged = videoAddon().videoDamage(video);
  if (damaged.length === 0) return undefined;
  const { frameCount } = videoAddon().videoInfo(video);
  const more = damaged.length > shown ? ` and ${damaged.length - shown} more` : '';
  const numbers = `${damaged.subarray(0, shown).join(', ')}${more} of ${frameCount}`;
  const frames = damaged.length === 1 ? `frame ${numbers} is` : `frames ${numbers} are`;
  return `${frames} damaged; pictures behind, up to the next key frame, may show traces of it`;
}

/**
 * Warns of {@link describeDamage} through `process.emitWarning`, with the code `VIDEO_DAMAGED`.
 *
 * @example
 * process.on('warning', (warning) => console.error(warning.message));
 * // clip.mp4: frames 30, 32 of 50 are damaged; pictures behind, up to the next key frame, may show traces of it
 */
export function warnOfDamage(video: VideoHandle, name: string): void {
  const damage = describeDamage(video);
  if (damage !== undefined) process.emitWarning(`${name}: ${damage}`, { code: VIDEO_DAMAGED });
}
