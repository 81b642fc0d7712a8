// One measurement of the whole model, in a process of its own so that peak memory is its own.
//
//   node bench/model.mjs infer|train b32|b16|l14 FRAMES BATCH fp32|bf16 [CLASSES] [REPEATS] [DEVICE]
//
// Random weights; text features are encoded elsewhere and given, as with a frozen text tower. Prints one JSON line with
// the median seconds per step and peak memory; with infer also how late a 10 ms timer was while the model computed.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { median, root } from './machine.mjs';

const require = createRequire(import.meta.url);
const { XCLIP, ZOO } = require(join(root, 'dist/models'));
const { backward, noGrad } = require(join(root, 'dist/tensor/autograd'));
const { scope } = require(join(root, 'dist/tensor/scope'));
const { tensor } = require(join(root, 'dist/tensor/tensor'));
const { crossEntropy } = require(join(root, 'dist/ops'));
const { AdamW } = require(join(root, 'dist/optim'));
const { memory, setDefaultDevice, synchronize } = require(join(root, 'dist/native/device'));
const { Philox } = require(join(root, 'dist/base/philox'));

const [mode, arch, frameCount, batchSize, precision, classCount = '400', repeatCount = '5', device = 'cpu'] =
  process.argv.slice(2);
const archs = { b32: 'ViT-B/32', b16: 'ViT-B/16', l14: 'ViT-L/14' };
if (!['infer', 'train'].includes(mode) || !(arch in archs)) {
  console.error(
    'usage: node bench/model.mjs infer|train b32|b16|l14 FRAMES BATCH fp32|bf16 [CLASSES] [REPEATS] [DEVICE]',
  );
  process.exit(1);
}
const [frames, batch, classes, repeats] = [frameCount, batchSize, classCount, repeatCount].map(Number);
const dtype = precision === 'bf16' ? 'bfloat16' : 'float32';

setDefaultDevice(device);
const geometry = { ...ZOO[archs[arch]], arch: archs[arch], frames };
const model = new XCLIP(geometry, {
  seed: 1,
  computeDtype: dtype,
  weightDtype: mode === 'infer' ? dtype : 'float32',
});
const random = new Philox(7);
const normals = (shape) => {
  const pool = Float32Array.from({ length: 4099 }, () => random.normal());
  return tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => pool[i % 4099]),
    shape,
  );
};
const pixels = normals([batch, frames, 3, geometry.imageSize, geometry.imageSize]);
const text = normals([classes, geometry.embedDim]);

const isText = (name) => !/visual\.|mit|prompts/.test(name);
model.freeze(mode === 'infer' ? () => true : isText);

const seconds = [];
const lateness = [];
if (mode === 'infer') {
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    lateness.push(now - last - 10);
    last = now;
  }, 10);
  for (let i = 0; i < repeats + 2; i++) {
    const start = performance.now();
    const logits = noGrad(() => scope(() => model.score(model.encodeVideo(pixels), text)));
    await logits.data();
    seconds.push((performance.now() - start) / 1000);
    logits.dispose();
  }
  clearInterval(timer);
} else {
  const params = [...model.namedParameters()]
    .filter(([, p]) => p.requiresGrad)
    .map(([name, p]) => ({ name, tensor: p }));
  const optimizer = new AdamW([{ name: 'all', params, lr: 8e-6, weightDecay: 1e-3 }], { betas: [0.9, 0.98] });
  const soft = tensor(new Float32Array(batch * classes).fill(1 / classes), [batch, classes]);
  for (let i = 0; i < repeats + 2; i++) {
    const start = performance.now();
    const run = { training: true, seed: 0, step: i };
    const loss = scope(() => {
      const value = crossEntropy(model.score(model.encodeVideo(pixels, run), text, run), soft);
      optimizer.zeroGrad();
      backward(value);
      return value;
    });
    optimizer.step();
    await loss.data();
    await synchronize();
    seconds.push((performance.now() - start) / 1000);
    loss.dispose();
  }
}
const step = median(seconds.slice(2));
lateness.sort((a, b) => a - b);
console.log(
  JSON.stringify({
    mode,
    arch,
    frames,
    batch,
    dtype: precision,
    classes,
    device,
    seconds: Number(step.toFixed(device === 'cpu' ? 4 : 6)),
    videosPerSecond: Number((batch / step).toFixed(3)),
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
    peakDeviceMb: Math.round(memory().peakBytes / 2 ** 20),
    ...(lateness.length > 0 && {
      timerLateP99Ms: Number(lateness[Math.floor(lateness.length * 0.99)].toFixed(1)),
    }),
  }),
);
