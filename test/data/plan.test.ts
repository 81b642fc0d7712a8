import {
  type TestPlanOptions,
  type TrainPlanOptions,
  testPlan,
  trainPlan,
  trainPlanner,
} from '../../lib/data/plan';
import { sampleRandom } from '../../lib/data/random';
import { jitterRanges } from '../../lib/data/transforms/color_jitter';
import { readGolden } from '../support/golden';
import { type Draw, ReplayedRandom } from '../support/replayed_random';

const recipe: TrainPlanOptions = {
  numFrames: 8,
  inputSize: 224,
  shift: 0,
  flip: 0.5,
  colorJitter: 0.8,
  grayScale: 0.2,
};
const single: TestPlanOptions = { numFrames: 8, inputSize: 224, numClips: 1, numCrops: 1 };
const demo = { frameCount: 280, width: 340, height: 256 };

interface RecordedJitter {
  order: number[];
  brightness: number;
  contrast: number;
  saturation: number;
  hue: number;
}

interface Golden {
  train_pipeline: {
    draws_in_order: ({ draw: string } & Record<string, unknown>)[];
    indices: number[];
    box_left_top_right_bottom: [number, number, number, number];
    flipped: boolean;
  };
  normalize: { mean: number[]; std: number[] };
  clips: Record<string, { test_indices_8: number[] }>;
}

const golden = readGolden<Golden>('preprocess.json');
const jitterKeys = ['brightness', 'contrast', 'saturation', 'hue'] as const;

function toDraws(recorded: Record<string, unknown>): Draw[] {
  switch (recorded.draw) {
    case 'numpy.randint': {
      const { high_exclusive, values } = recorded as { high_exclusive: number; values: number[] };
      return values.map((integer) => ({ integer, bound: high_exclusive }));
    }
    case 'random.choice':
      return [{ integer: recorded.index as number, bound: recorded.of as number }];
    case 'colour jitter of one frame': {
      const jitter = recorded as unknown as RecordedJitter;
      const fraction = (key: (typeof jitterKeys)[number]) => {
        const [low, high] = jitterRanges[key];
        return { uniform: (jitter[key] - low) / (high - low) };
      };
      return [{ permutation: jitter.order }, ...jitterKeys.map(fraction)];
    }
    default:
      return [{ uniform: recorded.value as number }];
  }
}

test('the recorded training run, its draws replayed in order, gives the identical plan', () => {
  const run = golden.train_pipeline;
  const random = new ReplayedRandom(run.draws_in_order.flatMap(toDraws));
  const plan = trainPlan(demo, recipe, random);
  expect(random.left).toBe(0);
  const [left, top, right, bottom] = run.box_left_top_right_bottom;
  expect(plan.frames).toEqual(run.indices);
  expect(plan.resize).toBeNull();
  expect(plan.crops).toEqual([[left, top, right - left, bottom - top]]);
  expect(plan.flip).toBe(run.flipped);
  expect(plan.gray).toBe(false);
  const recorded = run.draws_in_order.filter(({ draw }) =>
    draw.startsWith('colour'),
  ) as unknown as RecordedJitter[];
  expect(plan.jitter!.map(({ order }) => order)).toEqual(recorded.map(({ order }) => order));
  plan.jitter!.forEach((jitter, frame) => {
    for (const key of jitterKeys) expect(jitter[key]).toBeCloseTo(recorded[frame]![key], 12);
  });
  expect([plan.size, plan.mean, plan.std]).toEqual([224, golden.normalize.mean, golden.normalize.std]);
});

test('a plan depends on seed, epoch and index, and survives JSON', () => {
  const make = (seed: number, epoch: number, index: number) =>
    trainPlan({ frameCount: 300, width: 640, height: 360 }, recipe, sampleRandom(seed, epoch, index));
  expect(make(1, 2, 3)).toEqual(make(1, 2, 3));
  expect(JSON.parse(JSON.stringify(make(1, 2, 3)))).toEqual(make(1, 2, 3));
  const frames = [make(1, 2, 3), make(2, 2, 3), make(1, 3, 3), make(1, 2, 4)].map((plan) =>
    plan.frames.join(),
  );
  expect(new Set(frames).size).toBe(4);
});

test('probabilities 0 and 1 are never and always', () => {
  const plans = (options: Partial<TrainPlanOptions>) =>
    Array.from({ length: 50 }, (_, i) => trainPlan(demo, { ...recipe, ...options }, sampleRandom(0, 0, i)));
  for (const plan of plans({ flip: 0, colorJitter: 0, grayScale: 0 })) {
    expect([plan.flip, plan.jitter, plan.gray]).toEqual([false, null, false]);
  }
  for (const plan of plans({ flip: 1, colorJitter: 1, grayScale: 1 })) {
    expect([plan.flip, plan.jitter?.length, plan.gray]).toEqual([true, 8, true]);
    for (const { order, hue } of plan.jitter!) {
      expect([...order].sort()).toEqual([0, 1, 2, 3]);
      expect(Math.abs(hue)).toBeLessThanOrEqual(0.1);
    }
  }
  const flips = plans({}).filter((plan) => plan.flip).length;
  expect(flips).toBeGreaterThan(10);
  expect(flips).toBeLessThan(40);
});

test('shift: 64x64 video, 32x32 input, short side 36', () => {
  const options = { ...recipe, inputSize: 32, shift: 4, flip: 0 };
  const plan = trainPlan({ frameCount: 32, width: 64, height: 64 }, options, sampleRandom(1, 0, 0));
  expect(plan.resize).toEqual([36, 36]);
  const [left, top, width, height] = plan.crops[0]!;
  expect([width, height, plan.size]).toEqual([32, 32, 32]);
  expect(Math.max(left, top)).toBeLessThanOrEqual(4);
  expect(trainPlanner(options).shape).toEqual([8, 3, 32, 32]);
});

test('test views: one centre crop, or clips x three crops', () => {
  const one = testPlan({ ...demo, width: 680, height: 512 }, single, sampleRandom(0, 0, 0));
  expect(one.resize).toEqual([340, 256]);
  expect(one.crops).toEqual([[58, 16, 224, 224]]);
  expect(one.frames).toEqual(golden.clips['demo.mp4']!.test_indices_8);
  expect([one.flip, one.jitter, one.gray]).toEqual([false, null, false]);

  const many = testPlan(demo, { ...single, numClips: 4, numCrops: 3 }, sampleRandom(0, 0, 0));
  expect(many.resize).toEqual([298, 224]);
  expect(many.crops.map(([left]) => left)).toEqual([0, 74, 37]);
  expect(many.frames.length).toBe(32);
});

test('clips of a test are random only when asked for', () => {
  const frames = (index: number, randomClips: boolean, numClips = 4) =>
    testPlan(demo, { ...single, numClips, randomClips }, sampleRandom(0, 0, index)).frames;
  expect(frames(1, false)).toEqual(frames(2, false));
  expect(frames(1, true)).not.toEqual(frames(2, true));
  expect(frames(1, true, 1)).toEqual(frames(2, false, 1));
});
