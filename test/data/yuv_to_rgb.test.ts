import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';
import { buildCli } from '../support/built_cli';
import { sha256, temporaryFolder } from '../support/video';

// Our conversion stands in for libswscale's where that rounds otherwise than on x86-64. There both can be had.
const onReference = process.arch === 'x64' ? test : test.skip;
const folder = temporaryFolder();

// The addon looks at the environment once, so it is given a process of its own.
const script = `
const { VideoReader } = require(process.argv[1]);
(async () => {
  for (const path of process.argv.slice(2)) {
    const video = await VideoReader.open(path);
    const frames = await video.getBatch(Array.from({ length: video.length }, (_, i) => i));
    console.log(require('node:crypto').createHash('sha256').update(frames).digest('hex'));
    video.close();
  }
})();
`;

function ffmpeg(...words: string[]): Buffer {
  return execFileSync('ffmpeg', ['-v', 'error', ...words], { maxBuffer: 1 << 28 });
}

const spaces = ['bt709', 'fcc', 'bt470bg', 'smpte240m', 'bt2020nc', 'unspecified'];
const planar420 = spaces.flatMap((space, i) =>
  ['tv', 'pc'].map((range) => ({ space, range, format: 'yuv420p', width: [64, 66, 98, 130, 254, 322][i]! })),
);

const planar422 = ['tv', 'pc'].map((range) => ({ space: 'bt709', range, format: 'yuv422p', width: 98 }));
// Only other codecs than H.264 have odd sizes. Pictures with an odd number of rows are left to libswscale.
const odd = [
  { space: 'bt709', range: 'tv', format: 'yuv420p', width: 67, height: 48, codec: 'mpeg4' },
  { space: 'bt709', range: 'tv', format: 'yuv420p', width: 67, height: 47, codec: 'mpeg4' },
];
const clips = [...planar420, ...planar422].map((clip) => ({ ...clip, height: 48, codec: 'libx264' }));

onReference('pixels are those of libswscale on x86-64, whatever the colour space, range and width', () => {
  const paths = [...clips, ...odd].map(({ space, range, format, width, height, codec }) => {
    const path = join(folder, `${space}-${range}-${format}-${width}x${height}.mp4`);
    const noise = `nullsrc=s=${width}x${height},geq=random(1)*255:random(2)*255:random(3)*255,format=${format}`;
    const quality = codec === 'mpeg4' ? ['-q:v', '1'] : ['-crf', '1'];
    const picture = ['-f', 'lavfi', '-i', noise, '-frames:v', '3'];
    ffmpeg(...picture, '-c:v', codec, ...quality, '-colorspace', space, '-color_range', range, path);
    return path;
  });
  const expected = paths.map((path) =>
    sha256(ffmpeg('-i', path, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-')),
  );
  expect(new Set(expected).size).toBe(paths.length);
  const env = { ...process.env, NATIVE_YUV_TO_RGB: 'own' };
  buildCli();
  const words = ['-e', script, join(packageRoot(), 'dist/video.js'), ...paths];
  const output = execFileSync(process.execPath, words, { env, encoding: 'utf8' });
  expect(output.trim().split('\n')).toEqual(expected);
});
