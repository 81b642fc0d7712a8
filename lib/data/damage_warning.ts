import { type VideoHandle, videoAddon } from '../native/video';

const shown = 10;

/**
 * Warns, through `process.emitWarning` with the code `VIDEO_DAMAGED`, when decoding a video stumbled over frames: what was
 * asked for could be decoded, but may show traces of them. To be called before the video is closed.
 *
 * @example
 * process.on('warning', (warning) => console.error(warning.message));
 * // clip.mp4: frames 30, 32 of 50 are damaged; pictures behind, up to the next key frame, may show traces of it
 */
export function warnOfDamage(video: VideoHandle, name: string): void {
  const damaged = videoAddon().videoDamage(video);
  if (damaged.length === 0) return;
  const { frameCount } = videoAddon().videoInfo(video);
  const more = damaged.length > shown ? ` and ${damaged.length - shown} more` : '';
  const numbers = `${damaged.subarray(0, shown).join(', ')}${more} of ${frameCount}`;
  const frames = damaged.length === 1 ? `frame ${numbers} is` : `frames ${numbers} are`;
  process.emitWarning(
    `${name}: ${frames} damaged; pictures behind, up to the next key frame, may show traces of it`,
    {
      code: 'VIDEO_DAMAGED',
    },
  );
}
