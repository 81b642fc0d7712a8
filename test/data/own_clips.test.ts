import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { VideoReader } from '../../lib/data/video_reader';

// CLIPS=folder npx jest --selectProjects=cpu -- test/data/own_clips
const folder = process.env.CLIPS;
const clips = folder
  ? readdirSync(folder).filter((name) => /\.(mp4|mkv|mov|avi|webm|ts|m2t)$/.test(name))
  : [];
const withClips = clips.length > 0 ? test.each(clips) : test.skip.each(['CLIPS is not set']);

/** All pictures that the `ffmpeg` program shows, and what it complains of. */
function byProgram(path: string): { pixels: Buffer; complaints: string } {
  const output = ['-fps_mode', 'passthrough', '-vf', 'format=rgb24', '-f', 'rawvideo', '-'];
  const { stdout, stderr } = spawnSync('ffmpeg', ['-v', 'error', '-threads', '1', '-i', path, ...output], {
    maxBuffer: 2 ** 31 - 1,
  });
  return { pixels: stdout, complaints: stderr.toString() };
}

withClips(
  'the frames of %s are those of ffmpeg, byte for byte, in random order',
  async (name) => {
    const path = join(folder!, name);
    const { pixels, complaints } = byProgram(path);
    using video = await VideoReader.open(path);
    const size = 3 * video.width * video.height;
    // Behind damage, the program leaves frames out: there is nothing to compare with from the first one on.
    const compared = complaints === '' ? video.length : await firstDamaged(video);
    if (complaints === '') expect(pixels).toHaveLength(video.length * size);
    const order = new Philox(1, video.length).permutation(compared);
    const different: number[] = [];
    for (let at = 0; at < order.length; at += 16) {
      const indices = order.slice(at, at + 16);
      const frames = Buffer.from(await video.getBatch(indices));
      for (const [place, index] of indices.entries()) {
        const ours = frames.subarray(place * size, (place + 1) * size);
        if (!ours.equals(pixels.subarray(index * size, (index + 1) * size))) different.push(index);
      }
    }
    expect(different).toEqual([]);
  },
  120_000,
);

async function firstDamaged(video: VideoReader): Promise<number> {
  for (let index = 0; index < video.length; index++) {
    try {
      await video.get(index);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_VIDEO_DECODE' });
      return index;
    }
  }
  return video.length;
}
