import { Philox } from '../../../lib/base/philox';
import { centerCrop } from '../../../lib/data/transforms/center_crop';
import type { Size } from '../../../lib/data/transforms/geometry';
import {
  fiveOffsets,
  multiScaleCrop,
  multiScaleCropSizes,
} from '../../../lib/data/transforms/multi_scale_crop';
import { resizeShortSide, shortSideFor } from '../../../lib/data/transforms/resize_short_side';
import { shiftCrop } from '../../../lib/data/transforms/shift_crop';
import { threeCrop } from '../../../lib/data/transforms/three_crop';
import { readGolden } from '../../support/golden';
import { ReplayedRandom } from '../../support/replayed_random';

type Edges = [left: number, top: number, right: number, bottom: number];

interface Golden {
  rescale_size: { w: number; h: number; short_side: number; new_w_h: Size }[];
  multi_scale_crop: {
    candidates: {
      image_w: number;
      image_h: number;
      input_size: number;
      sizes: { used_w_h: Size; offsets_x_y: Size[] }[];
    }[];
    results: { size_choice: number; offset_choice: number; box_left_top_right_bottom: Edges }[];
  };
  clips: Record<
    string,
    {
      width: number;
      height: number;
      center_crop224: { left_top_right_bottom: Edges };
      input336: { left_top_right_bottom: Edges };
      three_crop224: { resized_w_h: Size; boxes_left_top_right_bottom: Edges[] };
    }
  >;
}

const golden = readGolden<Golden>('preprocess.json');
const toBox = ([left, top, right, bottom]: Edges) => [left, top, right - left, bottom - top];

test('short side sizes equal the reference', () => {
  expect(golden.rescale_size.length).toBeGreaterThan(40);
  for (const { w, h, short_side, new_w_h } of golden.rescale_size) {
    expect(resizeShortSide([w, h], short_side)).toEqual(new_w_h);
  }
  expect([224, 336, 32].map(shortSideFor)).toEqual([256, 384, 36]);
});

test('multi-scale crop sizes and offsets equal the reference', () => {
  expect(golden.multi_scale_crop.candidates.length).toBe(6);
  for (const { image_w, image_h, input_size, sizes } of golden.multi_scale_crop.candidates) {
    const picture: Size = [image_w, image_h];
    expect(multiScaleCropSizes(picture, input_size)).toEqual(sizes.map((size) => size.used_w_h));
    for (const { used_w_h, offsets_x_y } of sizes) {
      expect(fiveOffsets(picture, used_w_h)).toEqual(offsets_x_y);
    }
  }
});

test('sides up to two pixels from the input become it', () => {
  const largest = (side: number) => multiScaleCropSizes([300, side], 224)[0];
  expect([221, 222, 224, 226, 227].map(largest)).toEqual(
    [221, 224, 224, 224, 227].map((side) => [side, side]),
  );
});

test('a multi-scale crop draws a size and then a place', () => {
  for (const { size_choice, offset_choice, box_left_top_right_bottom } of golden.multi_scale_crop.results) {
    const source = golden.multi_scale_crop.candidates[0]!;
    const random = new ReplayedRandom([
      { integer: size_choice, bound: 10 },
      { integer: offset_choice, bound: 5 },
    ]);
    const crop = multiScaleCrop([source.image_w, source.image_h], source.input_size, random);
    expect(crop).toEqual(toBox(box_left_top_right_bottom));
  }
});

test('centre and three crops equal the reference', () => {
  for (const clip of Object.values(golden.clips)) {
    const { three_crop224: three, center_crop224: center, input336 } = clip;
    const original: Size = [clip.width, clip.height];
    const at224 = resizeShortSide(original, 224);
    expect(at224).toEqual(three.resized_w_h);
    expect(threeCrop(at224, 224)).toEqual(three.boxes_left_top_right_bottom.map(toBox));
    expect(centerCrop(resizeShortSide(original, 256), 224)).toEqual(toBox(center.left_top_right_bottom));
    expect(centerCrop(resizeShortSide(original, 384), 336)).toEqual(toBox(input336.left_top_right_bottom));
  }
});

test('three crops of an upright picture go top, bottom, middle', () => {
  expect(threeCrop([224, 299], 224)).toEqual([
    [0, 0, 224, 224],
    [0, 74, 224, 224],
    [0, 37, 224, 224],
  ]);
  expect(() => threeCrop([300, 300], 224)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
});

test('a shift crop reaches every place and stays inside', () => {
  const random = new Philox(2);
  const places = new Set<string>();
  for (let k = 0; k < 500; k++) {
    const [left, top, width, height] = shiftCrop([36, 34], 32, random);
    expect([width, height]).toEqual([32, 32]);
    places.add(`${left},${top}`);
  }
  const all = [0, 1, 2, 3, 4].flatMap((left) => [0, 1, 2].map((top) => `${left},${top}`));
  expect([...places].sort()).toEqual(all.sort());
});
