import { testPlan } from '../data/plan';
import { sampleRandom } from '../data/random';
import type { Source } from '../data/video_dataset';
import { VideoReader } from '../data/video_reader';
import { encodePng } from './png';

/** Frames in a strip, and the side of each in pixels. */
const count = 8;
const side = 96;

/** Eight evenly spaced frames of a video side by side, each its centre square, as a PNG file. */
export async function frameStrip(source: Source, signal?: AbortSignal): Promise<Buffer> {
  const video = await VideoReader.open(source, { signal });
  try {
    const options = { numFrames: count, inputSize: side, numClips: 1, numCrops: 1 } as const;
    const plan = testPlan(video.info, options, sampleRandom(0, 0, 0));
    const frames = new Uint8Array(count * side * side * 3);
    await video.runPlan(plan, frames, 0, { signal });
    return encodePng(sideBySide(frames), count * side, side);
  } finally {
    video.close();
  }
}

/** RGB frames [count, side, side, 3] to one picture [side, count * side, 3]. */
function sideBySide(frames: Uint8Array): Uint8Array {
  const row = 3 * side;
  const picture = new Uint8Array(frames.length);
  for (let frame = 0; frame < count; frame++) {
    for (let y = 0; y < side; y++) {
      const start = (frame * side + y) * row;
      picture.set(frames.subarray(start, start + row), (y * count + frame) * row);
    }
  }
  return picture;
}
