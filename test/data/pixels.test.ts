import { type VideoPlan, videoAddon } from '../../lib/native/video';
import { readFixture } from '../support/fixture';
import { goldenPath, readGolden } from '../support/golden';
import { readSafetensors } from '../support/safetensors';
import { sha256 } from '../support/video';

const tensors = readSafetensors(goldenPath('preprocess.safetensors'));
const pixels = (name: string) => Uint8Array.from(tensors.get(name)!.data);

interface Jitter {
  order: number[];
  brightness: number;
  contrast: number;
  saturation: number;
  hue: number;
  sha256: string;
}
interface Preprocess {
  normalize: { mean: [number, number, number]; std: [number, number, number] };
  color_jitter: { ops: { op: string; factor: number; sha256: string }[]; sequences: Jitter[] };
  grayscale: { sha256: string };
  clips: Record<
    string,
    {
      resize256: { w_h: [number, number]; sha256: string[] };
      center_crop224: { left_top_right_bottom: number[]; sha256: string[] };
      input336: { left_top_right_bottom: number[]; sha256: string[] };
      three_crop224: {
        resized_w_h: [number, number];
        boxes_left_top_right_bottom: number[][];
        sha256: string[];
      };
    }
  >;
}
const golden = readGolden<Preprocess>('preprocess.json');
const clip = golden.clips['flipping_a_pancake.mkv']!;
const frame = pixels('flipping_a_pancake.mkv.rgb.19'); // frame 0 of the 8 test frames
const [width, height] = [426, 240];

const plain: VideoPlan = {
  frames: [0],
  resize: null,
  crops: [],
  size: 224,
  flip: false,
  jitter: null,
  gray: false,
  ...golden.normalize,
};
const box = ([left, top, right, bottom]: number[]): [number, number, number, number] => [
  left!,
  top!,
  right! - left!,
  bottom! - top!,
];

/** The bytes of each picture that a plan makes of one frame. */
async function run(rgb: Uint8Array, w: number, h: number, plan: VideoPlan): Promise<Uint8Array[]> {
  const [outWidth, outHeight] = typeof plan.size === 'number' ? [plan.size, plan.size] : plan.size;
  const size = outWidth * outHeight * 3;
  const out = new Uint8Array(size * plan.crops.length * plan.frames.length);
  await videoAddon().runPlanOnFrames(rgb, w, h, plan, out);
  return Array.from({ length: out.length / size }, (_, i) => out.slice(i * size, (i + 1) * size));
}

describe('resize', () => {
  interface Case {
    from: [number, number];
    to: [number, number];
    sha256: string;
  }
  const cases = readFixture<{ cases: Case[] }>('video/resize.json').cases;

  function noise(w: number, h: number): Uint8Array {
    let state = 1;
    return Uint8Array.from({ length: w * h * 3 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    });
  }

  test.each(cases)('$from to $to equals OpenCV', async ({ from, to, sha256: expected }) => {
    const source = noise(...from);
    const [asCrop] = await run(source, ...from, { ...plain, crops: [[0, 0, ...from]], size: to });
    expect(sha256(asCrop!)).toBe(expected);
    const [asWhole] = await run(source, ...from, { ...plain, resize: to, crops: [[0, 0, ...to]], size: to });
    expect(sha256(asWhole!)).toBe(expected);
  });
});

test('crops and frames of a plan know nothing of one another', async () => {
  const rgb = Uint8Array.from({ length: 2 * 8 * 2 * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24);
  const crops: [number, number, number, number][] = [
    [0, 0, 8, 2],
    [0, 0, 4, 1],
    [4, 0, 4, 2],
  ];
  const whole: VideoPlan = { ...plain, frames: [0, 1], crops, size: [5, 3] };
  const alone: Uint8Array[] = [];
  for (const crop of crops)
    for (const frame of [0, 1])
      alone.push(...(await run(rgb, 8, 2, { ...whole, frames: [frame], crops: [crop] })));
  expect(await run(rgb, 8, 2, whole)).toEqual(alone);
});

describe('test views of a real frame', () => {
  test('short side 256', async () => {
    const [w, h] = clip.resize256.w_h;
    const [result] = await run(frame, width, height, {
      ...plain,
      resize: [w, h],
      crops: [[0, 0, w, h]],
      size: [w, h],
    });
    expect(sha256(result!)).toBe(clip.resize256.sha256[0]);
  });

  test('centre crops of 224 and 336', async () => {
    const crops = [box(clip.center_crop224.left_top_right_bottom)];
    const [small] = await run(frame, width, height, { ...plain, resize: clip.resize256.w_h, crops });
    expect(sha256(small!)).toBe(clip.center_crop224.sha256[0]);
    const large = { ...plain, crops: [box(clip.input336.left_top_right_bottom)], size: 336 };
    const [result] = await run(frame, width, height, { ...large, resize: [682, 384] });
    expect(sha256(result!)).toBe(clip.input336.sha256[0]);
  });

  test('three crops are crop-major', async () => {
    const { resized_w_h: resize, boxes_left_top_right_bottom: boxes, sha256: expected } = clip.three_crop224;
    const plan = { ...plain, resize, crops: boxes.map(box), frames: [0, 0] };
    const hashes = (await run(frame, width, height, plan)).map(sha256);
    expect(hashes).toEqual([0, 0, 8, 8, 16, 16].map((i) => expected[i]));
  });

  test('normalised values are exact, at an offset', async () => {
    const grid = tensors.get('flipping_a_pancake.mkv.normalized_grid')!;
    const crops = [box(clip.center_crop224.left_top_right_bottom)];
    const out = new Float32Array(3 * 224 * 224 + 5).fill(9);
    await videoAddon().runPlanOnFrames(
      frame,
      width,
      height,
      { ...plain, resize: clip.resize256.w_h, crops },
      out,
      5,
    );
    expect(Array.from(out.slice(0, 5))).toEqual([9, 9, 9, 9, 9]);
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < 14; y++) {
        for (let x = 0; x < 14; x++) {
          expect(out[5 + (c * 224 + y * 16) * 224 + x * 16]).toBe(grid.data[(c * 14 + y) * 14 + x]);
        }
      }
    }
  });
});

describe('colour', () => {
  const input = pixels('jitter.input');
  const neutral = { brightness: 1, contrast: 1, saturation: 1, hue: 0 };
  const names = ['brightness', 'contrast', 'saturation', 'hue'];
  const whole: VideoPlan = { ...plain, crops: [[0, 0, 64, 48]], size: [64, 48] };

  test.each(golden.color_jitter.ops)(
    '$op by $factor equals Pillow',
    async ({ op, factor, sha256: expected }) => {
      const jitter = [{ ...neutral, [op]: factor, order: [names.indexOf(op)] }];
      const [result] = await run(input, 64, 48, { ...whole, jitter });
      expect(sha256(result!)).toBe(expected);
    },
  );

  test('four operations in any order, another for each frame', async () => {
    const { sequences } = golden.color_jitter;
    const results = await run(input, 64, 48, { ...whole, frames: sequences.map(() => 0), jitter: sequences });
    expect(results.map(sha256)).toEqual(sequences.map((sequence) => sequence.sha256));
  });

  /** Pillow's way through 8-bit HSV, in its mixture of float and double. */
  function turnHue(rgb: Uint8Array, shift: number): Uint8Array {
    const f = Math.fround;
    const out = new Uint8Array(rgb.length);
    for (let i = 0; i < rgb.length; i += 3) {
      const [r, g, b] = [rgb[i]!, rgb[i + 1]!, rgb[i + 2]!];
      const [high, low] = [Math.max(r, g, b), Math.min(r, g, b)];
      let [hue, saturation] = [0, 0];
      if (high > low) {
        const [rc, gc, bc] = [r, g, b].map((value) => f((high - value) / (high - low))) as [
          number,
          number,
          number,
        ];
        const sextants = f(r === high ? bc - gc : g === high ? 2 + rc - bc : 4 + gc - rc);
        hue = Math.trunc(f((sextants / 6 + 1) % 1) * 255);
        saturation = Math.trunc(f((high - low) / high) * 255);
      }
      const position = (((hue + shift) & 255) * 6) / 255;
      const fraction = f(position - Math.floor(position));
      const fs = f(saturation / 255);
      const level = (value: number) => Math.trunc(high * (1 - value) + 0.5);
      const [p, q, t] = [level(fs), level(f(fs * fraction)), level(fs * (1 - fraction))];
      const places = [
        [high, t, p],
        [q, high, p],
        [p, high, t],
        [p, q, high],
        [t, p, high],
        [high, p, q],
      ];
      out.set(places[Math.floor(position) % 6]!, i);
    }
    return out;
  }

  test('hue of 262,144 colours equals the formula', async () => {
    const colours = new Uint8Array(3 * 64 ** 3);
    for (let i = 0; i < 64 ** 3; i++)
      for (let c = 0; c < 3; c++) colours[3 * i + c] = Math.round((((i >> (6 * c)) & 63) * 255) / 63);
    for (const shift of [0, 1, 77, -12]) {
      const jitter = [{ ...neutral, hue: (shift + Math.sign(shift) * 0.5) / 255, order: [3] }];
      const plan: VideoPlan = { ...plain, crops: [[0, 0, 512, 512]], size: 512, jitter };
      const [result] = await run(colours, 512, 512, plan);
      expect(Buffer.compare(result!, turnHue(colours, shift))).toBe(0);
      // Colours are turned in blocks, here one and a part of one.
      const [part] = await run(colours, 512, 512, { ...plan, crops: [[0, 0, 300, 1]], size: [300, 1] });
      expect(Buffer.compare(part!, turnHue(colours.subarray(0, 900), shift))).toBe(0);
    }
  });

  test('contrast moves away from the mean of a picture, a half rounded up', async () => {
    const two = Uint8Array.of(10, 10, 10, 11, 11, 11);
    const jitter = [{ order: [1], brightness: 1, contrast: 0, saturation: 1, hue: 0 }];
    const [result] = await run(two, 2, 1, { ...whole, crops: [[0, 0, 2, 1]], size: [2, 1], jitter });
    expect([...result!]).toEqual(Array(6).fill(11));
  });

  test('gray', async () => {
    const [result] = await run(input, 64, 48, { ...whole, gray: true });
    expect(sha256(result!)).toBe(golden.grayscale.sha256);
  });

  test('flip mirrors columns', async () => {
    const [result] = await run(input, 64, 48, { ...whole, flip: true });
    for (const [x, y] of [
      [0, 0],
      [63, 47],
      [10, 20],
    ] as const) {
      const from = (y * 64 + 63 - x) * 3;
      expect(result!.slice((y * 64 + x) * 3, (y * 64 + x) * 3 + 3)).toEqual(input.slice(from, from + 3));
    }
  });
});

describe('plans that make no sense are refused', () => {
  const good: VideoPlan = { ...plain, crops: [[0, 0, 224, 224]] };
  const bad: [string, unknown][] = [
    ['crop outside', { ...good, crops: [[300, 0, 224, 224]] }],
    ['crop that ends below', { ...good, crops: [[0, 17, 224, 224]] }],
    ['crop of nothing', { ...good, crops: [[0, 0, 0, 5]] }],
    ['no crops', { ...good, crops: [] }],
    ['no frames', { ...good, frames: [] }],
    ['fractional frame', { ...good, frames: [0.5] }],
    ['size 0', { ...good, size: 0 }],
    ['jitter of another length', { ...good, jitter: [] }],
    [
      'unknown operation',
      { ...good, jitter: [{ order: [4], brightness: 1, contrast: 1, saturation: 1, hue: 0 }] },
    ],
    [
      'hue outside',
      { ...good, jitter: [{ order: [3], brightness: 1, contrast: 1, saturation: 1, hue: 0.6 }] },
    ],
    ['std 0', { ...good, std: [1, 0, 1] }],
    ['flip missing', { ...good, flip: undefined }],
    ['not an object', 5],
  ];
  const out = new Float32Array(3 * 224 * 224);

  test.each(bad)('%s', async (_, plan) => {
    const call = videoAddon().runPlanOnFrames(frame, width, height, plan as VideoPlan, out);
    await expect(call).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  test('frame outside, output too small, frames of another size', async () => {
    const addon = videoAddon();
    const outside = addon.runPlanOnFrames(frame, width, height, { ...good, frames: [1] }, out);
    await expect(outside).rejects.toMatchObject({ code: 'ERR_FRAME_RANGE' });
    for (const offset of [1, out.length + 1]) {
      const call = addon.runPlanOnFrames(frame, width, height, good, out, offset);
      await expect(call).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    }
    await expect(addon.runPlanOnFrames(frame, width, 239, good, out)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
    });
  });

  test('frames that the plan itself takes away', async () => {
    const lent = frame.slice();
    const plan = { ...good };
    Object.defineProperty(plan, 'flip', { get: () => !structuredClone(lent, { transfer: [lent.buffer] }) });
    const call = videoAddon().runPlanOnFrames(lent, width, height, plan, out);
    await expect(call).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message: expect.stringContaining('got 0 bytes'),
    });
  });
});
