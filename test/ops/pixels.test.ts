import { Philox } from '../../lib/base/philox';
import type { FrameJitter, VideoPlan } from '../../lib/native/video';
import { videoAddon } from '../../lib/native/video';
import { type ClipFrames, pixels } from '../../lib/ops/pixels';
import { recordGraph } from '../../lib/tensor/graph';
import { bfloat16Bits, tensor } from '../../lib/tensor/tensor';

const plain: VideoPlan = {
  frames: [0, 1],
  resize: null,
  crops: [[0, 0, 12, 10]],
  size: [12, 10],
  flip: false,
  jitter: null,
  gray: false,
  mean: [123.675, 116.28, 103.53],
  std: [58.395, 57.12, 57.375],
};
const jitter = (
  order: number[],
  brightness: number,
  contrast: number,
  saturation: number,
  hue: number,
): FrameJitter => ({
  order,
  brightness,
  contrast,
  saturation,
  hue,
});

// Smooth and noisy pictures: jitter and resize are checked on both.
function picture(count: number, width: number, height: number, seed: number): Uint8Array {
  const random = new Philox(seed);
  return Uint8Array.from({ length: count * width * height * 3 }, (_, i) =>
    seed % 2 ? random.integer(256) : Math.round(127 + 120 * Math.sin(i / 37)),
  );
}

const cases: { name: string; width: number; height: number; plan: Partial<VideoPlan> }[] = [
  { name: 'normalise', width: 12, height: 10, plan: {} },
  { name: 'odd sizes', width: 13, height: 7, plan: { crops: [[2, 1, 5, 3]], size: [5, 3] } },
  { name: 'larger', width: 5, height: 4, plan: { resize: [17, 15], crops: [[1, 2, 12, 10]] } },
  { name: 'smaller', width: 40, height: 33, plan: { resize: [20, 16], crops: [[3, 4, 12, 10]] } },
  { name: 'both resizes', width: 40, height: 33, plan: { resize: [29, 24], crops: [[3, 4, 19, 17]] } },
  {
    name: 'several tiles, of whole words',
    width: 90,
    height: 70,
    plan: {
      resize: [100, 80],
      crops: [[3, 4, 76, 61]],
      size: [76, 61],
      jitter: Array(2).fill(jitter([2, 1, 3, 0], 1.2, 0.7, 1.3, 0.05)),
    },
  },
  {
    name: 'several tiles, of odd sizes, mirrored',
    width: 90,
    height: 130,
    plan: {
      crops: [[5, 6, 80, 120]],
      size: [67, 117],
      flip: true,
      jitter: Array(2).fill(jitter([0, 3, 1, 2], 0.8, 1.3, 0.6, -0.07)),
    },
  },
  {
    name: 'colours kept, several tiles, smaller',
    width: 101, // rows start at every place within words of 4 bytes
    height: 252,
    plan: { resize: [97, 240], crops: [[3, 4, 93, 235]], size: [93, 235] },
  },
  {
    name: 'colours kept, several tiles, larger, mirrored',
    width: 31,
    height: 9,
    plan: { resize: [140, 50], crops: [[1, 3, 135, 47]], size: [135, 47], flip: true },
  },
  {
    name: 'colours kept, only the crop is resized, up to the last column and row',
    width: 83,
    height: 20,
    plan: { crops: [[13, 3, 70, 17]], size: [66, 30] },
  },
  {
    name: 'colours kept, several tiles, no resize',
    width: 70,
    height: 30,
    plan: { crops: [[3, 0, 67, 30]], size: [67, 30] },
  },
  { name: 'a crop of one column', width: 9, height: 6, plan: { crops: [[8, 1, 1, 5]], size: [4, 4] } },
  { name: 'a frame of one column', width: 1, height: 6, plan: { crops: [[0, 1, 1, 5]], size: [4, 4] } },
  { name: 'a frame of two columns', width: 2, height: 6, plan: { crops: [[1, 1, 1, 5]], size: [1, 5] } },
  {
    name: 'colours of one picture kept, of one changed',
    width: 20,
    height: 11,
    plan: { crops: [[0, 0, 20, 11]], jitter: [jitter([], 1, 1, 1, 0), jitter([2, 1], 1, 1.9, 0.4, 0)] },
  },
  { name: 'one pixel', width: 1, height: 1, plan: { crops: [[0, 0, 1, 1]], size: 3 } },
  {
    name: 'three crops',
    width: 20,
    height: 10,
    plan: {
      crops: [
        [0, 0, 10, 10],
        [10, 0, 10, 10],
        [5, 0, 10, 10],
      ],
      size: 8,
    },
  },
  { name: 'flip', width: 15, height: 12, plan: { crops: [[2, 1, 12, 10]], flip: true } },
  { name: 'grey', width: 12, height: 10, plan: { gray: true } },
  {
    name: 'jitter, contrast first and last',
    width: 12,
    height: 10,
    plan: { jitter: [jitter([1, 0, 3, 2], 1.3, 0.6, 1.4, 0.08), jitter([2, 3, 0, 1], 0.7, 1.35, 0.2, -0.1)] },
  },
  {
    name: 'some operations only, and grey, mirrored',
    width: 25,
    height: 21,
    plan: {
      crops: [[1, 1, 23, 19]],
      flip: true,
      gray: true,
      jitter: [jitter([3], 1, 1, 1, 0.5), jitter([2, 1], 1, 1.9, 0, 0)],
    },
  },
];

test.each(cases)('$name: the bytes of the decode addon', async ({ width, height, plan: changes }) => {
  const plan = { ...plain, ...changes };
  const [w, h] = typeof plan.size === 'number' ? [plan.size, plan.size] : plan.size;
  const size = plan.crops.length * 2 * 3 * w * h;
  const parts = [1, 2].map((seed) => picture(2, width, height, seed));
  const expected = await Promise.all(
    parts.map(async (frames) => {
      const out = new Float32Array(size);
      await videoAddon().runPlanOnFrames(frames, width, height, plan, out);
      return [...out];
    }),
  );
  const clips: ClipFrames[] = parts.map((_, i) => ({
    offset: 7 + i * parts[0]!.length,
    width,
    height,
    plan,
  }));
  const bytes = Uint8Array.from([...new Array(7).fill(9), ...parts.flatMap((part) => [...part])]);
  const frames = tensor(bytes, [bytes.length]);
  const result = pixels(frames, clips);
  expect([...result.shape]).toEqual([4 * plan.crops.length, 3, h, w]);
  expect([...((await result.data()) as Float32Array)]).toEqual(expected.flat());
  const half = pixels(frames, clips, 'bfloat16');
  expect([...((await half.data()) as Uint16Array)]).toEqual(expected.flat().map(bfloat16Bits));
});

test('what reaches outside is refused before any work', () => {
  const frames = tensor(new Uint8Array(2 * 12 * 10 * 3), [720]);
  const clip = { offset: 0, width: 12, height: 10, plan: plain };
  expect(() => pixels(frames, [])).toThrow('there is no clip');
  expect(() => pixels(frames, [{ ...clip, offset: 1 }])).toThrow(/edit 1 .* ends after the 720 bytes/);
  expect(() => pixels(frames, [{ ...clip, plan: { ...plain, crops: [[1, 0, 12, 10]] } }])).toThrow(
    /crop \[1, 0, 12, 10\] of edit 0 is not inside the picture of 12 x 10/,
  );
  expect(() => pixels(frames, [{ ...clip, width: 0 }])).toThrow('must be an integer in 1 ..');
  expect(() => pixels(frames, [clip, { ...clip, plan: { ...plain, size: 4 } }])).toThrow('plan 1 differ');
  expect(() => pixels(tensor(new Float32Array(720), [720]), [clip])).toThrow('must be uint8');
});

test('pictures are not limited to the 65,535 of a dimension of the grid', async () => {
  const count = 70_000;
  const bytes = Uint8Array.from({ length: 3 * count }, (_, i) => (i * 7) % 256);
  const frames = tensor(bytes, [bytes.length]);
  const list = Array.from({ length: count }, (_, i) => i);
  const plan = { ...plain, frames: list, crops: [[0, 0, 1, 1]], size: 1 } as VideoPlan;
  const edit = () => pixels(frames, [{ offset: 0, width: 1, height: 1, plan }]);
  if (frames.device === 'cuda' && process.env.TEST_GPU !== '1') {
    // Emulated blocks are slow, but whether the device takes the launch is known without running it.
    recordGraph(edit, 'cuda').dispose();
  } else {
    const result = edit();
    const values = (await result.data()) as Float32Array;
    const last = [0, 1, 2].map((c) => (bytes[3 * count - 3 + c]! - plain.mean[c]!) / plain.std[c]!);
    for (const [c, value] of last.entries()) expect(values[3 * count - 3 + c]).toBeCloseTo(value, 5);
    result.dispose();
  }
  frames.dispose();
});
