import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { warnOfDamage } from '../../lib/data/damage_warning';
import { VideoLoader } from '../../lib/data/loader';
import { testPlanner } from '../../lib/data/plan';
import { VideoDataset } from '../../lib/data/video_dataset';
import { VideoReader } from '../../lib/data/video_reader';
import { videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const sound = readFileSync(fixturePath('video/h264_b_frames.mp4')); // 40 frames, key frames 0, 12, 24, 36

/** The clip with frame 16 destroyed, which the B-frames around it and the P-frames behind it refer to. */
function damaged(): Uint8Array {
  const bytes = Uint8Array.from(sound);
  const start = 1662; // of its packet, with the length of its first unit
  return bytes.fill(0xff, start, start + 4);
}

test('damage on the way to other frames is told, and what is decoded without it is not suspected', async () => {
  using video = await VideoReader.open(damaged());
  await video.getBatch([0, 5, 30]);
  expect(video.damage.passed).toEqual([]);
  await video.getBatch([20]);
  expect(video.damage.passed).toEqual([16]);
  await expect(video.get(16)).rejects.toMatchObject({ code: 'ERR_VIDEO_DECODE' });
});

test('parts that are made up count, and damage before the place where decoding began does not', async () => {
  const passed = async (name: string, start: number, end: number, frame: number) => {
    const bytes = readFileSync(fixturePath(`video/${name}`)).fill(0x55, start, end);
    using video = await VideoReader.open(bytes);
    await video.get(frame);
    return video.damage.passed;
  };
  expect(await passed('mpeg4_b_frames.mp4', 370, 380, 8)).toEqual([6]);
  expect(await passed('hevc_open_gop.mp4', 1805, 1809, 36)).toEqual([]); // it begins at frame 30, and damaged is 29
});

// A decoder that leaves pictures out makes up other ones in the place of damaged ones.
test('pictures around damage are the same, whatever else is asked for', async () => {
  const bytes = Uint8Array.from(sound).fill(0x55, 2755, 2763); // inside frame 35
  const options = { onError: 'skip' } as const;
  using whole = await VideoReader.open(bytes, options);
  const inOrder: Uint8Array[] = [];
  for (let frame = 0; frame < whole.length; frame++) inOrder.push(await whole.getBatch([frame]));
  expect(inOrder.flatMap((picture, frame) => (picture.length === 0 ? [frame] : []))).toEqual([35]);
  for (let frame = whole.length - 1; frame >= 0; frame--) {
    using alone = await VideoReader.open(bytes, options);
    const same = Buffer.compare(await alone.getBatch([frame]), inOrder[frame]!);
    expect({ frame, same }).toEqual({ frame, same: 0 });
  }
});

test.each([
  'h264_b_frames.mp4',
  'h264_open_gop.mkv',
  'h264_intra_refresh.m2t',
  'hevc_open_gop.mp4',
  'h264_edit_list.mp4',
  'vp9_hidden_frames.webm',
])('a start in the middle of %s is no damage', async (name) => {
  using video = await VideoReader.open(fixturePath(`video/${name}`));
  for (let frame = video.length - 1; frame >= 0; frame -= 3) await video.get(frame);
  expect(video.damage.passed).toEqual([]);
});

test('the warning names the video and the frames, and there is none for a sound one', async () => {
  const addon = videoAddon();
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  try {
    for (const data of [Uint8Array.from(sound), damaged()]) {
      const video = await addon.openVideo({ data });
      await addon.readFrames(video, Int32Array.of(20), new Uint8Array(68 * 48 * 3));
      warnOfDamage('clip.mp4', addon.videoDamage(video), addon.videoInfo(video).frameCount);
      addon.closeVideo(video);
    }
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/^clip\.mp4: frame 16 of 40 is damaged; /), { code: 'VIDEO_DAMAGED' }],
    ]);
  } finally {
    warn.mockRestore();
  }
});

test.each(['fail', 'skip', 'substitute'] as const)(
  'a loader uses, counts and names a sample behind damage, under %s too',
  async (onError) => {
    writeFileSync(join(folder, 'sound.mp4'), sound);
    writeFileSync(join(folder, 'damaged.mp4'), damaged());
    writeFileSync(join(folder, 'list.txt'), 'sound.mp4 0\ndamaged.mp4 1\n');
    const dataset = await VideoDataset.fromList(join(folder, 'list.txt'), { root: folder });
    // One frame of 40 is number 20, four frames behind the damage.
    const planner = testPlanner({ numFrames: 1, inputSize: 32, numClips: 1, numCrops: 1 });
    const loader = new VideoLoader({ dataset, planner, batchSize: 2, seed: 0, training: false, onError });
    for (const epoch of [0, 1]) {
      for await (const batch of loader.epoch(epoch)) {
        expect([...batch.indices]).toEqual([0, 1]);
        expect(batch.failed).toEqual([]);
        expect(batch.damaged).toEqual([
          {
            ...{ epoch, index: 1, path: join(folder, 'damaged.mp4'), where: `${join(folder, 'list.txt')}:2` },
            code: 'VIDEO_DAMAGED',
            reason: expect.stringMatching(/^frame 16 of 40 is damaged; /),
          },
        ]);
        batch.release();
      }
    }
    expect(loader.counters).toMatchObject({ samples: 4, failed: 0, damaged: 2 });
  },
);
