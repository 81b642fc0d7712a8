import { throwIfAborted } from '../base/abort';
import { videoAddon } from '../native/video';
import { testPlan } from './plan';
import { sampleRandom } from './random';
import type { Source } from './sources/store';

/** How fast the same clips come out of two sets of files. */
export interface SpeedComparison {
  /** Videos timed. */
  videos: number;
  /** Clips per second and thread, opening included. */
  before: number;
  after: number;
}

/**
 * Times one clip of 8 evenly spaced frames, cut to 224 x 224, out of each video and out of its copy, in turn and on one
 * thread, after a round of both that does not count (it brings the files into memory).
 * @param pairs of a video and its copy, at least one
 * @throws ERR_ABORTED, what opening and decoding a video throws
 */
export async function compareDecoding(
  pairs: readonly (readonly [Source, Source])[],
  signal?: AbortSignal,
): Promise<SpeedComparison> {
  const seconds: [number, number] = [0, 0];
  for (const round of [0, 1]) {
    for (const pair of pairs) {
      throwIfAborted(signal, 'timing the copies was aborted');
      for (const side of [0, 1] as const) {
        const started = performance.now();
        await readClip(pair[side]);
        if (round === 1) seconds[side] += (performance.now() - started) / 1000;
      }
    }
  }
  return { videos: pairs.length, before: pairs.length / seconds[0], after: pairs.length / seconds[1] };
}

async function readClip(source: Source): Promise<void> {
  const addon = videoAddon();
  const video = await addon.openVideo(source);
  try {
    const options = { numFrames: 8, inputSize: 224, numClips: 1, numCrops: 1 } as const;
    const plan = testPlan(addon.videoInfo(video), options, sampleRandom(0, 0, 0));
    await addon.runPlan(video, plan, new Float32Array(8 * 3 * 224 * 224));
  } finally {
    addon.closeVideo(video);
  }
}
