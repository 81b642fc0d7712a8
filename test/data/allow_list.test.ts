import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../lib/native/load';
import { buildCli } from '../support/built_cli';
import { fixturePath } from '../support/fixture';

// The addon looks at the environment once, so each setting is given a process of its own.
const script = `
const { VideoReader } = require(process.argv[1]);
(async () => {
  const result = {};
  for (const path of process.argv.slice(2)) {
    const name = require('node:path').basename(path);
    try {
      const video = await VideoReader.open(path);
      result[name] = video.info.codec;
      video.close();
    } catch (error) {
      result[name] = error.code + error.message.slice(path.length);
    }
  }
  console.log(JSON.stringify(result));
})();
`;

const clips = ['h264_b_frames.mp4', 'hevc_open_gop.mp4', 'av1.mkv', 'mpeg4_b_frames.avi'];
const everything = {
  'h264_b_frames.mp4': 'h264',
  'hevc_open_gop.mp4': 'hevc',
  'av1.mkv': 'av1',
  'mpeg4_b_frames.avi': 'mpeg4',
};

function opened(settings: NodeJS.ProcessEnv): Record<string, string> {
  buildCli();
  const paths = clips.map((name) => join(dirname(fixturePath('video/clips.json')), name));
  const words = ['-e', script, join(packageRoot(), 'dist/video.js'), ...paths];
  return JSON.parse(
    execFileSync(process.execPath, words, { env: { ...process.env, ...settings }, encoding: 'utf8' }),
  );
}

test('codecs and containers can be switched off by the environment, and no others switched on', () => {
  expect(opened({})).toEqual(everything);
  expect(opened({ NATIVE_VIDEO_CODECS: 'h264,av1,png' })).toEqual({
    ...everything,
    'hevc_open_gop.mp4':
      'ERR_VIDEO_FORMAT: codec hevc is not one this package decodes (NATIVE_VIDEO_CODECS allows: h264,av1,png)',
    'mpeg4_b_frames.avi':
      'ERR_VIDEO_FORMAT: codec mpeg4 is not one this package decodes (NATIVE_VIDEO_CODECS allows: h264,av1,png)',
  });
  expect(opened({ NATIVE_VIDEO_FORMATS: 'mp4,hls' })).toEqual({
    'h264_b_frames.mp4': 'h264',
    'hevc_open_gop.mp4': 'hevc',
    'av1.mkv': expect.stringMatching(/^ERR_VIDEO_FORMAT: not a video file .*; containers: mp4,hls \(NATIVE/),
    'mpeg4_b_frames.avi': expect.stringMatching(/^ERR_VIDEO_FORMAT: not a video file/),
  });
  for (const outcome of Object.values(opened({ NATIVE_VIDEO_CODECS: '' }))) {
    expect(outcome).toMatch(/^ERR_VIDEO_FORMAT: codec/);
  }
});
