import { join } from 'node:path';
import { VideoReader } from '../../lib/data/video_reader';
import { type EncodeOptions, type VideoOptions, videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const margin = 4096;
const canary = 0xa5;

/** Reads `frames` into the middle of a larger array, at an odd address, and looks at what lies around them. */
async function readGuarded(video: VideoReader, frames: number[]): Promise<Uint8Array> {
  const bytes = frames.length * video.width * video.height * 3;
  const memory = new Uint8Array(bytes + 2 * margin).fill(canary);
  const start = margin - 3;
  const out = await video.getBatch(frames, { out: memory.subarray(start, start + bytes) });
  const around = [...memory.subarray(0, start), ...memory.subarray(start + bytes)];
  expect(around.filter((byte) => byte !== canary)).toEqual([]);
  return out;
}

/** The same pictures through a plan that does nothing to them, for which libswscale writes padded rows. */
async function throughPlan(video: VideoReader, frames: number[]): Promise<Uint8Array> {
  const { width, height } = video;
  const out = new Uint8Array(frames.length * width * height * 3);
  await video.runPlan(
    {
      frames,
      resize: null,
      crops: [[0, 0, width, height]],
      size: [width, height],
      flip: false,
      jitter: null,
      gray: false,
      mean: [0, 0, 0],
      std: [1, 1, 1],
    },
    out,
  );
  return out;
}

async function expectSame(source: string, options: VideoOptions) {
  using video = await VideoReader.open(source, options);
  const frames = [5, 2, 5, 0]; // decoded in another order, one of them twice
  const [straight, padded] = [await readGuarded(video, frames), await throughPlan(video, frames)];
  const same = Buffer.compare(straight, padded);
  expect({ source, width: video.width, height: video.height, same }).toEqual({
    source,
    width: video.width,
    height: video.height,
    same: 0,
  });
}

const clips = [
  'h264_b_frames.mp4',
  'h264_full_range.mp4',
  'h264_rotated.mp4',
  'hevc_10_bit.mkv',
  'mjpeg.mov',
];

test.each(clips)(
  '%s: what is written straight into the result is what padded rows hold, at any size',
  async (name) => {
    const source = fixturePath(`video/${name}`);
    await expectSame(source, {});
    for (let width = 1; width <= 100; width++) {
      for (const height of [1, 33, 48]) await expectSame(source, { width, height });
    }
    for (const width of [320, 341, 854]) await expectSame(source, { width, height: 2 * width });
  },
);

test('neither do pictures that are not scaled reach beyond their place, whatever their width', async () => {
  const widths = Array.from({ length: 64 }, (_, i) => 2 * i + 2).concat(320, 340, 342, 456, 480, 640);
  for (const width of widths) {
    const options: EncodeOptions = { width, height: 18, fps: 25, codec: 'mpeg4' };
    const noise = new Uint8Array(6 * width * 18 * 3).map((_, i) => Math.imul(i, 2654435761) >>> 17);
    const path = join(folder, `${width}.mp4`);
    await videoAddon().encodeVideo(path, options, noise);
    await expectSame(path, {});
  }
});
