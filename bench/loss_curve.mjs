// Whether training goes the same way on the CPU and on a CUDA device: the loss of each step of the same small model, on
// the same videos, from the same start.
//
//   node bench/loss_curve.mjs STEPS RESULT.json [BATCH]
//
// Weights and sums are float32, products take bfloat16, as with TRAIN.OPT_LEVEL O1. Rounding differs between the devices
// and grows from step to step, so this prints how far apart the losses are and judges nothing but that both are numbers
// and that both fall.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from './machine.mjs';

const require = createRequire(import.meta.url);
const { XCLIP, ZOO } = require(join(root, 'dist/models'));
const { backward } = require(join(root, 'dist/tensor/autograd'));
const { scope } = require(join(root, 'dist/tensor/scope'));
const { tensor } = require(join(root, 'dist/tensor/tensor'));
const { crossEntropy } = require(join(root, 'dist/ops'));
const { AdamW } = require(join(root, 'dist/optim'));
const { setDefaultDevice } = require(join(root, 'dist/native/device'));
const { Philox } = require(join(root, 'dist/base/philox'));

const [steps, file, batchSize = '8'] = process.argv.slice(2);
if (!(Number(steps) >= 2) || !file) {
  console.error('usage: node bench/loss_curve.mjs STEPS RESULT.json [BATCH], with two steps or more');
  process.exit(2);
}
const batch = Number(batchSize);
const frames = 4;
const vision = { imageSize: 32, patch: 16, visionWidth: 128, visionLayers: 2, visionHeads: 2 };
const text = { textWidth: 64, textLayers: 1, textHeads: 1, vocabSize: 9 };
const geometry = {
  ...ZOO['ViT-B/32'],
  ...vision,
  ...text,
  embedDim: 64,
  mitHeads: 1,
  promptHeads: 1,
  frames,
};

async function lossesOn(device) {
  setDefaultDevice(device);
  const model = new XCLIP({ ...geometry, arch: 'custom' }, { seed: 1, computeDtype: 'bfloat16' });
  model.freeze((name) => !/visual\.|mit|prompts/.test(name));
  const random = new Philox(7);
  const normals = (...shape) =>
    tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal()),
      shape,
    );
  const pixels = normals(batch, frames, 3, vision.imageSize, vision.imageSize);
  const classes = normals(batch, geometry.embedDim);
  const labels = tensor(Int32Array.from({ length: batch }, (_, i) => i));
  const params = [...model.namedParameters()]
    .filter(([, p]) => p.requiresGrad)
    .map(([name, p]) => ({ name, tensor: p }));
  const optimizer = new AdamW([{ name: 'all', params, lr: 1e-4, weightDecay: 1e-3 }], { betas: [0.9, 0.98] });
  const losses = [];
  for (let step = 0; step < Number(steps); step++) {
    const run = { training: true, seed: 0, step };
    const loss = scope(() => {
      const value = crossEntropy(model.score(model.encodeVideo(pixels, run), classes, run), labels);
      backward(value);
      return value;
    });
    optimizer.step();
    optimizer.zeroGrad();
    losses.push(await loss.item());
    loss.dispose();
  }
  return losses;
}

const cpu = await lossesOn('cpu');
const cuda = await lossesOn('cuda');
const apart = cpu.map((loss, step) => Math.abs(loss - cuda[step]) / Math.abs(loss));
const worst = apart.indexOf(Math.max(...apart));
writeFileSync(
  file,
  `${JSON.stringify({ steps: cpu.length, batch, cpu, cuda, largestApart: apart[worst] })}\n`,
);
const ends = (losses) => `${losses[0].toFixed(5)} to ${losses.at(-1).toFixed(5)}`;
console.log(
  `${cpu.length} steps: CPU ${ends(cpu)}, CUDA ${ends(cuda)}, apart by ${apart[worst]} in step ${worst}`,
);
const falls = (losses) => losses.every(Number.isFinite) && losses.at(-1) < losses[0];
process.exit(falls(cpu) && falls(cuda) ? 0 : 1);
