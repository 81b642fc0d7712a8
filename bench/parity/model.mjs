// The tiny model against the recording: intermediates, logits, other weight formats, sizes.
import {
  goldenPath,
  largest,
  largestDifference,
  load,
  mismatches,
  readJson,
  readTensors,
} from './golden.mjs';

const { XCLIP, ZOO, loadPretrained } = load('models');
const { countOperations, countParameters } = load('models/xclip/cost');
const { evaluation } = load('nn');
const { matmul } = load('ops');
const { noGrad } = load('tensor/autograd');
const { keep } = load('tensor/scope');
const { tensor } = load('tensor/tensor');

const recorded = await readTensors('tiny_io.safetensors');
const frames = tensor(
  Float32Array.from(recorded.get('input.images').data),
  recorded.get('input.images').shape,
);
const { data: ids, shape } = recorded.get('input.tokens');
const tokens = { ids: Int32Array.from(ids), shape };
const values = async (t) => Array.from(await t.data());

/** Values of a recorded text intermediate at the end tokens, the only rows that are computed. */
function atEnds({ data, shape: [classes, length, width] }) {
  return Array.from({ length: classes }, (_, k) => {
    const row = ids.slice(k * length, (k + 1) * length);
    const start = (k * length + row.indexOf(Math.max(...row))) * width;
    return data.slice(start, start + width);
  }).flat();
}

async function forward() {
  const model = await XCLIP.load(goldenPath('tiny.pth'), { device: 'cpu' });
  const seen = new Map();
  const trace = (name, value) => seen.set(name, keep(value.detach()));
  const logits = noGrad(() => model.forward(frames, tokens, { ...evaluation, trace }));
  seen.set(
    'prompts.img_features',
    noGrad(() => matmul(seen.get('prompts.visual_ln'), model.prompts_visual_proj)),
  );
  seen.set(
    'text.features',
    noGrad(() => model.encodeText(tokens)),
  );
  let intermediates = 0;
  for (const [name, expected] of recorded) {
    if (name.startsWith('input.') || name === 'logits') continue;
    const actual = await values(seen.get(name));
    const wanted = actual.length === expected.data.length ? expected.data : atEnds(expected);
    intermediates = Math.max(intermediates, largestDifference(actual, wanted) / largest(wanted));
  }
  const difference = largestDifference(await values(logits), recorded.get('logits').data);
  model.dispose();
  return [
    {
      what: 'intermediates, relative to the largest value of each',
      difference: intermediates,
      allowed: 2e-5,
    },
    { what: 'logits', difference, allowed: 2e-5 },
  ];
}

async function halfWeights() {
  const model = await XCLIP.load(goldenPath('tiny_fp16.pth'), { device: 'cpu' });
  const logits = await values(noGrad(() => model.forward(frames, tokens)));
  model.dispose();
  const rounded =
    readJson('tiny_checkpoint.json').logits_with_half_rounded_weights_computed_in_float32.flat();
  return [
    { what: 'logits with float16 weights', difference: largestDifference(logits, rounded), allowed: 2e-5 },
    {
      what: 'the same, to logits with float32 weights',
      difference: largestDifference(logits, recorded.get('logits').data),
      allowed: 2e-3,
    },
  ];
}

async function imageText() {
  const tiny = await XCLIP.load(goldenPath('tiny.pth'), { device: 'cpu' });
  const model = new XCLIP(tiny.geometry, { seed: 1, device: 'cpu' });
  await loadPretrained(model, goldenPath('tiny_clip_jit.pt'));
  const clip = await readTensors('tiny_clip_io.safetensors');
  const { data, shape: size } = clip.get('input.tokens');
  const features = await values(noGrad(() => model.encodeText({ ids: Int32Array.from(data), shape: size })));
  const wanted = clip.get('text_features').data;
  for (const m of [tiny, model]) m.dispose();
  const difference = largestDifference(features, wanted) / largest(wanted);
  return [{ what: 'text features of a TorchScript archive, relative', difference, allowed: 2e-5 }];
}

function sizes() {
  const pairs = readJson('flops.json').configs.flatMap((counted) => {
    const geometry = { arch: counted.arch, frames: counted.num_frames, ...ZOO[counted.arch] };
    const operations = countOperations(geometry, 400);
    const parts = Object.values(operations.parts).sort((a, b) => a - b);
    const wanted = Object.values(counted.items_multiply_accumulates).sort((a, b) => a - b);
    return [
      [countParameters(geometry).total, counted.parameters_total],
      [parts, wanted],
    ];
  });
  return [
    {
      what: `parameters and operations, wrong of ${pairs.length}`,
      difference: mismatches(pairs),
      allowed: 0,
    },
  ];
}

export const rows = async () => [
  ...(await forward()),
  ...(await halfWeights()),
  ...(await imageText()),
  ...sizes(),
];
