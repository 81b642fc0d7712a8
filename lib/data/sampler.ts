import { CodedError } from '../base/error';
import type { Random } from './random';

/**
 * Which frames of a video a clip of T frames shows: arithmetic on presentation indices 0..N-1, no decoding.
 * The rules are those of the reference recipe.
 */

/**
 * Training clip: one random frame in each of T equal segments of floor(N / T) frames (the last N mod T frames are
 * never drawn). A video shorter than T repeats frames: index i becomes round(i * N / T), ties to even, modulo N, so
 * the last entries may wrap to frame 0; nothing random happens then.
 * @returns T ascending indices (but for the wrap)
 */
export function sampleTrainFrames(frameCount: number, clipLength: number, random: Random): number[] {
  checkCounts(frameCount, clipLength);
  const segment = Math.floor(frameCount / clipLength);
  if (segment > 0) {
    return Array.from({ length: clipLength }, (_, i) => i * segment + random.integer(segment));
  }
  const step = frameCount / clipLength;
  return Array.from({ length: clipLength }, (_, i) => roundHalfEven(i * step) % frameCount);
}

/** Test clip: the frame in the middle of each of T equal segments, floor(i * N / T + N / (2 T)). */
export function sampleTestFrames(frameCount: number, clipLength: number): number[] {
  checkCounts(frameCount, clipLength);
  const step = frameCount / clipLength;
  return Array.from({ length: clipLength }, (_, i) => Math.floor(i * step + step / 2));
}

/**
 * Clips of a multi-view test, evenly placed and without chance: each segment is cut in `clips` equal parts, and clip c
 * shows the middle of the c-th part of every segment. One clip is exactly {@link sampleTestFrames}; all clips
 * together show the `clips * T` test frames of the video, each once.
 * @returns `clips * T` indices, clip-major
 */
export function sampleTestClips(frameCount: number, clipLength: number, clips: number): number[] {
  const dense = sampleTestFrames(frameCount, clipLength * clips);
  return Array.from({ length: clips * clipLength }, (_, k) => {
    const [clip, i] = [Math.floor(k / clipLength), k % clipLength];
    return dense[i * clips + clip]!;
  });
}

/** The reference's multi-view test: each clip drawn as in training, so its scores change with the seed. */
export function sampleRandomClips(
  frameCount: number,
  clipLength: number,
  clips: number,
  random: Random,
): number[] {
  return Array.from({ length: clips }, () => sampleTrainFrames(frameCount, clipLength, random)).flat();
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function checkCounts(frameCount: number, clipLength: number): void {
  if (!Number.isInteger(frameCount) || frameCount < 1) {
    throw new CodedError('ERR_VIDEO_EMPTY', `a video of ${frameCount} frames has nothing to sample`);
  }
  if (!Number.isInteger(clipLength) || clipLength < 1) {
    throw new CodedError('ERR_ARGUMENT', `a clip must have at least one frame, got ${clipLength}`);
  }
}
