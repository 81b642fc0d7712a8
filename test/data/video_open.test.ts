import { readFileSync } from 'node:fs';
import { VideoReader } from '../../lib/data/video_reader';
import { fixturePath } from '../support/fixture';
import { numbersIn } from '../support/video';

const clip = fixturePath('video/h264_b_frames.mp4'); // 68 x 48

test.each([
  ['width', 28, 68],
  ['height', 30, 48],
])('a header that gives another %s than the stream is not believed', async (_, offset, side) => {
  const bytes = readFileSync(clip);
  const place = bytes.indexOf('avc1', bytes.indexOf('stsd')) + offset; // in the sample entry
  expect(bytes.readUInt16BE(place)).toBe(side);
  bytes.writeUInt16BE(80, place);
  using video = await VideoReader.open(Uint8Array.from(bytes));
  expect([video.width, video.height, video.length]).toEqual([68, 48, 40]);
  expect(numbersIn(await video.getBatch([39, 1]), 68, 48)).toEqual([39, 1]);
});

test('wanted frames in several groups of pictures, then those that were left out between them', async () => {
  for (const name of ['h264_b_frames.mp4', 'h264_open_gop.mkv', 'hevc_open_gop.mp4', 'hevc_10_bit.mkv']) {
    using video = await VideoReader.open(fixturePath(`video/${name}`));
    for (const wanted of [
      [4, 13, 14, 27, 38],
      [5, 15, 28, 39],
      [9, 10, 11, 12],
      [6, 7, 8],
      [0, 39],
      [29, 30],
    ]) {
      expect(numbersIn(await video.getBatch(wanted), 68, 48)).toEqual(wanted);
    }
  }
});
