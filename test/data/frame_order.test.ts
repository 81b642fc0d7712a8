import { Philox } from '../../lib/base/philox';
import type { Planner } from '../../lib/data/plan';
import { testPlanner } from '../../lib/data/plan';
import { type FrameOrder, reorderFrames } from '../../lib/data/transforms/frame_order';

const info = { frameCount: 100, width: 64, height: 64 };
const planner: Planner = testPlanner({ numFrames: 4, inputSize: 32, numClips: 2, numCrops: 3 });
const framesIn = (order: FrameOrder) =>
  Array.from(reorderFrames(planner, 4, order).plan(info, new Philox(1)).frames);
const forward = framesIn('forward');

test('reversed turns each clip around and keeps the clips where they are', () => {
  const [a, b] = [forward.slice(0, 4), forward.slice(4)];
  expect(framesIn('reversed')).toEqual([...a.reverse(), ...b.reverse()]);
});

test('one frame repeats the middle of each clip', () => {
  expect(framesIn('one_frame')).toEqual([...Array(4).fill(forward[2]), ...Array(4).fill(forward[6])]);
});
