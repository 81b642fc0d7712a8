import { CodedError } from '../../base/error';
import { warnOfDamage } from '../../data/damage_warning';
import { testPlanner } from '../../data/plan';
import { sampleRandom } from '../../data/random';
import { videoAddon } from '../../native/video';
import type { Geometry } from './geometry';

/** Which views of a video a model looks at. */
export interface ViewOptions {
  /** Clips per video, spread evenly over it (default 1). */
  clips?: number;
  /** Crops per clip: 1 is the middle, 3 are left, right and middle (default 1). */
  crops?: 1 | 3;
  /** Milliseconds that opening a video may take, and again decoding it (default 60000). */
  deadlineMs?: number;
  signal?: AbortSignal;
}

/** Normalised pixels of the views of a video. */
export interface Views {
  /** [V, T, 3, S, S] */
  pixels: Float32Array;
  shape: readonly number[];
}

/**
 * Decodes the frames that a test of the model would see, and warns (VIDEO_DAMAGED) when damage was met on the way.
 *
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_FILE_IO, ERR_VIDEO_FORMAT, _EMPTY, _DECODE, _LIMIT, _TIMEOUT; ERR_SYSTEM; ERR_ABORTED
 */
export async function readViews(path: string, geometry: Geometry, options: ViewOptions): Promise<Views> {
  const { clips = 1, crops = 1, deadlineMs, signal } = options;
  if (!Number.isInteger(clips) || clips < 1 || (crops !== 1 && crops !== 3)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `clips must be at least 1 and crops 1 or 3, got ${clips} and ${crops}`,
    );
  }
  throwIfAborted(signal);
  const planner = testPlanner({
    numFrames: geometry.frames,
    inputSize: geometry.imageSize,
    numClips: clips,
    numCrops: crops,
  });
  const pixels = new Float32Array(planner.shape.reduce((a, b) => a * b, 1));
  const addon = videoAddon();
  const cancel = addon.createCancelToken();
  const stop = () => addon.cancel(cancel);
  signal?.addEventListener('abort', stop);
  try {
    const video = await addon.openVideo({ path }, { deadlineMs }, cancel);
    try {
      const plan = planner.plan(addon.videoInfo(video), sampleRandom(0, 0, 0));
      await addon.runPlan(video, plan, pixels, 0, deadlineMs, cancel);
      warnOfDamage(video, path);
    } finally {
      addon.closeVideo(video);
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  return { pixels, shape: planner.shape };
}

/** @throws ERR_ABORTED */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw new CodedError('ERR_ABORTED', 'aborted by the caller');
}
