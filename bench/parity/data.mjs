// Data against the recording: tokens, frame numbers, crops, pixels, blending.
import { createHash } from 'node:crypto';
import { largestDifference, load, mismatches, readJson, readTensors } from './golden.mjs';

const { tokenize } = load('models');
const { mixFrames, mixTargets, sampleTestFrames, sampleTrainFrames, smoothTargets } = load('data');
const { sampleRandomClips } = load('data/sampler');
const { centerCrop } = load('data/transforms/center_crop');
const { fiveOffsets, multiScaleCropSizes } = load('data/transforms/multi_scale_crop');
const { resizeShortSide } = load('data/transforms/resize_short_side');
const { threeCrop } = load('data/transforms/three_crop');
const { videoAddon } = load('native/video');

const exact = (what, pairs) => ({
  what: `${what}, wrong of ${pairs.length}`,
  difference: mismatches(pairs),
  allowed: 0,
});

function tokens() {
  const { labels, strings } = readJson('tokens.json');
  const texts = [...Object.values(labels).flat(), ...strings];
  const padded = (ids) => [...ids, ...new Array(77 - ids.length).fill(0)];
  return exact(
    'texts tokenized',
    texts.map(([text, ids]) => [[...tokenize(text).ids], padded(ids)]),
  );
}

/** Gives recorded integers back in order, and refuses to be asked for another range. */
function replay(draws) {
  const left = draws.flatMap(({ high_exclusive, values }) => values.map((value) => [value, high_exclusive]));
  return {
    integer(bound) {
      const [value, recorded] = left.shift();
      if (bound !== recorded) throw new Error(`drawn below ${bound}, recorded below ${recorded}`);
      return value;
    },
  };
}

function frames() {
  const { test, train, multiview4 } = readJson('sampling.json');
  return exact('lists of sampled frames', [
    ...test.map((c) => [sampleTestFrames(c.total_frames, c.num_frames), c.indices]),
    ...train.map((c) => [sampleTrainFrames(c.total_frames, c.num_frames, replay(c.draws)), c.indices]),
    ...multiview4.map((c) => [
      sampleRandomClips(c.total_frames, c.num_frames, 4, replay(c.draws)),
      c.indices,
    ]),
  ]);
}

const golden = readJson('preprocess.json');
const toBox = ([left, top, right, bottom]) => [left, top, right - left, bottom - top];

function crops() {
  const { rescale_size, multi_scale_crop, clips } = golden;
  return exact('resize sizes and crops', [
    ...rescale_size.map(({ w, h, short_side, new_w_h }) => [resizeShortSide([w, h], short_side), new_w_h]),
    ...multi_scale_crop.candidates.flatMap(({ image_w, image_h, input_size, sizes }) => {
      const picture = [image_w, image_h];
      const used = sizes.map((size) => size.used_w_h);
      const places = sizes.map(({ used_w_h, offsets_x_y }) => [fiveOffsets(picture, used_w_h), offsets_x_y]);
      return [[multiScaleCropSizes(picture, input_size), used], ...places];
    }),
    ...Object.values(clips).flatMap(({ width, height, center_crop224: center, three_crop224: three }) => [
      [centerCrop(resizeShortSide([width, height], 256), 224), toBox(center.left_top_right_bottom)],
      [threeCrop(resizeShortSide([width, height], 224), 224), three.boxes_left_top_right_bottom.map(toBox)],
    ]),
  ]);
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** SHA-256 of the picture that a plan makes of an RGB picture. */
async function pictureHash(rgb, [width, height], changes) {
  const whole = {
    frames: [0],
    resize: null,
    crops: [[0, 0, width, height]],
    size: [width, height],
    flip: false,
  };
  const plan = { ...whole, jitter: null, gray: false, ...golden.normalize, ...changes };
  const [w, h] = typeof plan.size === 'number' ? [plan.size, plan.size] : plan.size;
  const out = new Uint8Array(w * h * 3);
  await videoAddon().runPlanOnFrames(rgb, width, height, plan, out);
  return sha256(out);
}

async function pixels() {
  const tensors = await readTensors('preprocess.safetensors');
  const bytes = (name) => Uint8Array.from(tensors.get(name).data);
  const frame = bytes('flipping_a_pancake.mkv.rgb.19');
  const clip = golden.clips['flipping_a_pancake.mkv'];
  const view = (changes) => pictureHash(frame, [clip.width, clip.height], changes);
  const size = clip.resize256.w_h;
  const pairs = [
    [await view({ resize: size, crops: [[0, 0, ...size]], size }), clip.resize256.sha256[0]],
    [
      await view({ resize: size, crops: [toBox(clip.center_crop224.left_top_right_bottom)], size: 224 }),
      clip.center_crop224.sha256[0],
    ],
  ];
  const input = bytes('jitter.input');
  const color = (changes) => pictureHash(input, [64, 48], changes);
  const names = ['brightness', 'contrast', 'saturation', 'hue'];
  for (const { op, factor, sha256: wanted } of golden.color_jitter.ops) {
    const neutral = { brightness: 1, contrast: 1, saturation: 1, hue: 0 };
    pairs.push([await color({ jitter: [{ ...neutral, [op]: factor, order: [names.indexOf(op)] }] }), wanted]);
  }
  for (const sequence of golden.color_jitter.sequences)
    pairs.push([await color({ jitter: [sequence] }), sequence.sha256]);
  pairs.push([await color({ gray: true }), golden.grayscale.sha256]);
  return exact('pictures resized, cropped, jittered, grey', pairs);
}

async function blending() {
  const recorded = readJson('blending.json');
  const tensors = await readTensors('blending.safetensors');
  const floats = (name) => Float32Array.from(tensors.get(name).data);
  const labels = Int32Array.from(recorded.labels);
  const cutmix = recorded.cutmix.map(({ lam_after_box, box_x1_y1_x2_y2, ...rest }) => ({
    ...rest,
    kind: 'cutmix',
    lam: lam_after_box,
    box: toBox(box_x1_y1_x2_y2),
  }));
  let difference = 0;
  for (const mix of [...recorded.mixup.map((m) => ({ ...m, kind: 'mixup' })), ...cutmix]) {
    const images = floats('images');
    await mixFrames(images, 8, 8, mix);
    const targets = mixTargets(smoothTargets(labels, 6, 0.1), mix);
    difference = Math.max(
      difference,
      largestDifference(images, floats(mix.tensors[0])),
      largestDifference(targets, floats(mix.tensors[1])),
    );
  }
  return { what: 'mixup and cutmix', difference, allowed: 1e-6 };
}

export const rows = async () => [tokens(), frames(), crops(), await pixels(), await blending()];
