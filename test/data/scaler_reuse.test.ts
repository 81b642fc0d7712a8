import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import type { VideoOptions } from '../../lib/data';
import { VideoReader } from '../../lib/data/video_reader';
import { videoAddon } from '../../lib/native/video';
import { fixturePath, readFixture } from '../support/fixture';
import { sha256, temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const clips = readFixture<Record<string, { sha256: string }>>('video/clips.json');
const names = Object.keys(clips).filter((name) => name !== 'two_streams.mp4');
// Together they are more than a thread keeps contexts for.
const sizes: VideoOptions[] = [{}, { shortSide: 24 }, { width: 40, height: 40 }];

const open = (name: string, size: VideoOptions) => VideoReader.open(fixturePath(`video/${name}`), size);

test('converters that were used for other files give the same pictures', async () => {
  videoAddon().setWorkerCount(1); // so that all share the contexts of one thread
  const expected = new Map<string, { pictures: Uint8Array; size: number; count: number }>();
  for (const name of names) {
    for (const size of sizes) {
      using video = await open(name, size);
      const pictures = await video.getBatch(Array.from({ length: video.length }, (_, i) => i));
      // At their own size they are known to be FFmpeg's.
      if (size === sizes[0]) expect(sha256(pictures)).toBe(clips[name]!.sha256);
      const bytes = video.width * video.height * 3;
      expected.set(`${name} ${JSON.stringify(size)}`, { pictures, size: bytes, count: video.length });
    }
  }
  const random = new Philox(5, 0);
  for (let round = 0; round < 400; round++) {
    const name = names[random.integer(names.length)]!;
    const size = sizes[random.integer(sizes.length)]!;
    const { pictures, size: bytes, count } = expected.get(`${name} ${JSON.stringify(size)}`)!;
    const frame = random.integer(count);
    using video = await open(name, size);
    const same = Buffer.compare(
      await video.get(frame),
      pictures.subarray(frame * bytes, (frame + 1) * bytes),
    );
    expect({ name, size, frame, same }).toEqual({ name, size, frame, same: 0 });
  }
});

test('a converter is not used for a file whose levels mean something else', async () => {
  videoAddon().setWorkerCount(1);
  for (const range of ['tv', 'pc', 'tv']) {
    const path = join(folder, `${range}.webm`);
    const source = [
      '-f',
      'lavfi',
      '-i',
      'testsrc2=s=64x48:d=0.04',
      '-pix_fmt',
      'yuv420p',
      '-color_range',
      range,
    ];
    execFileSync('ffmpeg', ['-v', 'error', '-y', ...source, '-c:v', 'libvpx-vp9', path]);
    const shown = ['-vf', 'format=rgb24', '-f', 'rawvideo', '-'];
    using video = await VideoReader.open(path);
    expect(
      Buffer.compare(await video.get(0), execFileSync('ffmpeg', ['-v', 'error', '-i', path, ...shown])),
    ).toBe(0);
  }
});
