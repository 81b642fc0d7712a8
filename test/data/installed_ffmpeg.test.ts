import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { VideoReader } from '../../lib/data/video_reader';
import { fixturePath } from '../support/fixture';

// The clips of the tests, or one's own: CLIPS=folder npx jest --selectProjects=cpu -- test/data/installed_ffmpeg
const folder = process.env.CLIPS ?? fixturePath('video');
const clips = readdirSync(folder).filter((name) => /\.(mp4|mkv|mov|avi|webm|ts|m2t|mpg|ogg)$/.test(name));

const words = { encoding: 'utf8' } as const;

function firstVideoStream(path: string): number {
  const asked = ['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'stream=index', '-of', 'csv=p=0'];
  return Number.parseInt(spawnSync('ffprobe', [...asked, path], words).stdout, 10);
}

/** All pictures that the `ffmpeg` program shows, and what it complains of. */
function byProgram(path: string, stream: number): { pixels: Buffer; complaints: string } {
  const input = ['-v', 'error', '-threads', '1', '-i', path, '-map', `0:${stream}`];
  const output = ['-fps_mode', 'passthrough', '-vf', 'format=rgb24', '-f', 'rawvideo', '-'];
  const { stdout, stderr, error } = spawnSync('ffmpeg', [...input, ...output], { maxBuffer: 2 ** 31 - 1 });
  if (error) throw error;
  return { pixels: stdout, complaints: stderr.toString() };
}

test.each(clips)(
  'the frames of %s are those of the ffmpeg that is installed, byte for byte, in random order',
  async (name) => {
    const path = join(folder, name);
    const stream = firstVideoStream(path);
    const { pixels, complaints } = byProgram(path, stream);
    using video = await VideoReader.open(path, { stream });
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
