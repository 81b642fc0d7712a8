import { Philox } from '../../lib/base/philox';
import {
  sampleRandomClips,
  sampleTestClips,
  sampleTestFrames,
  sampleTrainFrames,
} from '../../lib/data/sampler';
import { readGolden } from '../support/golden';
import { type Draw, ReplayedRandom } from '../support/replayed_random';

interface Case {
  total_frames: number;
  num_frames: number;
  draws: { high_exclusive: number; values: number[] }[];
  indices: number[];
}

const golden = readGolden<{ test: Case[]; train: Case[]; multiview4: Case[] }>('sampling.json');

const replay = (test: Case) =>
  new ReplayedRandom(
    test.draws.flatMap(({ high_exclusive, values }) =>
      values.map((integer): Draw => ({ integer, bound: high_exclusive })),
    ),
  );

test('test frames equal the reference', () => {
  expect(golden.test.length).toBe(54);
  for (const { total_frames, num_frames, indices } of golden.test) {
    expect(sampleTestFrames(total_frames, num_frames)).toEqual(indices);
  }
});

test('training frames equal the reference with its draws replayed', () => {
  expect(golden.train.length).toBe(108);
  for (const recorded of golden.train) {
    const random = replay(recorded);
    expect(sampleTrainFrames(recorded.total_frames, recorded.num_frames, random)).toEqual(recorded.indices);
    expect(random.left).toBe(0);
  }
});

test('random multi-view clips equal the reference with its draws replayed', () => {
  expect(golden.multiview4.length).toBe(54);
  for (const recorded of golden.multiview4) {
    const random = replay(recorded);
    const { total_frames, num_frames, indices } = recorded;
    expect(sampleRandomClips(total_frames, num_frames, 4, random)).toEqual(indices);
    expect(random.left).toBe(0);
  }
});

test('a long clip takes one random frame per segment', () => {
  const random = new Philox(5);
  const seen = Array.from({ length: 8 }, () => new Set<number>());
  for (let k = 0; k < 200; k++) {
    sampleTrainFrames(32, 8, random).forEach((frame, segment) => {
      seen[segment]!.add(frame);
    });
  }
  seen.forEach((frames, segment) => {
    expect([...frames].sort((a, b) => a - b)).toEqual([0, 1, 2, 3].map((k) => 4 * segment + k));
  });
});

test('deterministic clips: one clip is the test clip, several interleave the dense test frames', () => {
  for (const total of [1, 3, 8, 31, 100, 300]) {
    expect(sampleTestClips(total, 8, 1)).toEqual(sampleTestFrames(total, 8));
    const clips = sampleTestClips(total, 8, 4);
    const sorted = [...clips].sort((a, b) => a - b);
    expect(sorted).toEqual(sampleTestFrames(total, 32));
    for (let c = 0; c < 4; c++) {
      const clip = clips.slice(8 * c, 8 * c + 8);
      expect(clip).toEqual([...clip].sort((a, b) => a - b));
    }
  }
  expect(sampleTestClips(320, 8, 4).slice(0, 16)).toEqual([
    5, 45, 85, 125, 165, 205, 245, 285, 15, 55, 95, 135, 175, 215, 255, 295,
  ]);
});

test('no frames to sample, or none wanted', () => {
  expect(() => sampleTestFrames(0, 8)).toThrow(expect.objectContaining({ code: 'ERR_VIDEO_EMPTY' }));
  expect(() => sampleTrainFrames(10, 0, new Philox(0))).toThrow(
    expect.objectContaining({ code: 'ERR_ARGUMENT' }),
  );
});
