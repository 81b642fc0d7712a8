import {
  cutmixBox,
  drawMix,
  type Mix,
  type MixOptions,
  mixFrames,
  mixTargets,
  smoothTargets,
} from '../../lib/data/mixup';
import { mixRandom } from '../../lib/data/random';
import { goldenPath, readGolden } from '../support/golden';
import { readSafetensors } from '../support/safetensors';

interface Recorded {
  lam: number;
  permutation: number[];
  tensors: string[];
}

interface RecordedCutmix extends Recorded {
  centre_x: number;
  centre_y: number;
  box_x1_y1_x2_y2: [number, number, number, number];
  lam_after_box: number;
}

const golden = readGolden<{ labels: number[]; mixup: Recorded[]; cutmix: RecordedCutmix[] }>('blending.json');
const tensors = readSafetensors(goldenPath('blending.safetensors'));
const options: MixOptions = { numClasses: 6, smoothing: 0.1, mixup: 0.8, cutmix: 1, switchProbability: 0.5 };
const labels = Int32Array.from(golden.labels);
const floats = (name: string) => Float32Array.from(tensors.get(name)!.data);

function largestDifference(got: Float32Array, want: Float32Array): number {
  expect(got.length).toBe(want.length);
  return got.reduce((most, value, k) => Math.max(most, Math.abs(value - want[k]!)), 0);
}

async function check(mix: Mix, [images, targets]: string[]): Promise<void> {
  const frames = floats('images');
  await mixFrames(frames, 8, 8, mix);
  expect(largestDifference(frames, floats(images!))).toBeLessThanOrEqual(1e-6);
  const mixed = mixTargets(smoothTargets(labels, 6, 0.1), mix);
  expect(largestDifference(mixed, floats(targets!))).toBeLessThanOrEqual(1e-6);
}

test('smoothed targets equal the reference', () => {
  expect(largestDifference(smoothTargets(labels, 6, 0.1), floats('labels.smoothed'))).toBeLessThanOrEqual(
    1e-7,
  );
  expect(() => smoothTargets(Int32Array.of(6), 6, 0.1)).toThrow(
    expect.objectContaining({ code: 'ERR_LABEL_RANGE' }),
  );
});

test.each(golden.mixup)(
  'mixup equals the reference (lam $lam)',
  async ({ lam, permutation, tensors: names }) => {
    await check({ kind: 'mixup', lam, permutation }, names);
  },
);

test.each(golden.cutmix)('cutmix equals the reference (lam $lam)', async (recorded) => {
  const [x1, y1, x2, y2] = recorded.box_x1_y1_x2_y2;
  const box = cutmixBox(recorded.lam, 8, 8, recorded.centre_x, recorded.centre_y);
  expect(box).toEqual([x1, y1, x2 - x1, y2 - y1]);
  const lam = 1 - (box[2] * box[3]) / 64;
  expect(lam).toBe(recorded.lam_after_box);
  await check({ kind: 'cutmix', lam, permutation: recorded.permutation, box }, recorded.tensors);
});

test('a mix is drawn from (seed, epoch, batch), half of them cutmix, lam inside [0, 1]', () => {
  const draws = Array.from({ length: 400 }, (_, batch) =>
    drawMix(options, 4, 32, 24, mixRandom(9, 1, batch)),
  );
  expect(drawMix(options, 4, 32, 24, mixRandom(9, 1, 7))).toEqual(draws[7]);
  const cutmix = draws.filter(({ kind }) => kind === 'cutmix').length;
  expect(cutmix).toBeGreaterThan(150);
  expect(cutmix).toBeLessThan(250);
  for (const mix of draws) {
    expect(mix.lam >= 0 && mix.lam <= 1).toBe(true);
    expect([...mix.permutation].sort()).toEqual([0, 1, 2, 3]);
    if (mix.kind !== 'cutmix') continue;
    const [left, top, width, height] = mix.box;
    expect(left >= 0 && top >= 0 && left + width <= 32 && top + height <= 24).toBe(true);
    expect(mix.lam).toBe(1 - (width * height) / (32 * 24));
  }
});

test('a shape of 0 turns that kind off; both off is an error', () => {
  const kinds = (changed: Partial<MixOptions>) =>
    new Set(
      Array.from(
        { length: 50 },
        (_, b) => drawMix({ ...options, ...changed }, 4, 8, 8, mixRandom(1, 0, b)).kind,
      ),
    );
  expect([...kinds({ cutmix: 0 })]).toEqual(['mixup']);
  expect([...kinds({ mixup: 0 })]).toEqual(['cutmix']);
  expect(() => kinds({ mixup: 0, cutmix: 0 })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
});
