// One measurement of the whole model, in a process of its own so that peak memory is its own.
//
//   node bench/model.mjs infer|train b32|b16|l14|tiny FRAMES BATCH fp32|bf16 [CLASSES] [REPEATS] [DEVICE] [graph|eager]
//
// Random weights; text features are encoded elsewhere and given, as with a frozen text tower. On CUDA a step is recorded
// and replayed (graph), as the training loop does it, unless `eager` asks for one launch after the other. Prints one JSON
// line with the median seconds per step and peak memory; with infer also how late a 10 ms timer was while the model
// computed.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { median, root } from './machine.mjs';

const require = createRequire(import.meta.url);
const { XCLIP, ZOO } = require(join(root, 'dist/models'));
const { backward, noGrad } = require(join(root, 'dist/tensor/autograd'));
const { captureGraph } = require(join(root, 'dist/tensor/graph'));
const { scope } = require(join(root, 'dist/tensor/scope'));
const { tensor } = require(join(root, 'dist/tensor/tensor'));
const { crossEntropy } = require(join(root, 'dist/ops'));
const { AdamW } = require(join(root, 'dist/optim'));
const { StepGraph } = require(join(root, 'dist/optim/step_graph'));
const { memory, setDefaultDevice, synchronize } = require(join(root, 'dist/native/device'));
const { Philox } = require(join(root, 'dist/base/philox'));

const [mode, arch, frameCount, batchSize, precision, classCount = '400', repeatCount = '5', ...where] =
  process.argv.slice(2);
const [device = 'cpu', execution = device === 'cpu' ? 'eager' : 'graph'] = where;
const archs = { b32: 'ViT-B/32', b16: 'ViT-B/16', l14: 'ViT-L/14', tiny: 'custom' };
/** What an emulated device gets through: to show that all of this runs. */
const tiny = {
  ...{
    imageSize: 32,
    patch: 16,
    visionWidth: 64,
    visionLayers: 1,
    visionHeads: 1,
    embedDim: 64,
    mitHeads: 1,
  },
  ...{ promptLayers: 1, promptHeads: 1, textWidth: 64, textLayers: 1, textHeads: 1, vocabSize: 9 },
};
const [frames, batch, classes, repeats] = [frameCount, batchSize, classCount, repeatCount].map(Number);
const dtypes = { fp32: 'float32', bf16: 'bfloat16' };
if (
  !['infer', 'train'].includes(mode) ||
  !(arch in archs) ||
  !(precision in dtypes) ||
  ![frames, batch, classes, repeats].every((count) => Number.isInteger(count) && count > 0) ||
  !(execution === 'eager' || (execution === 'graph' && device !== 'cpu'))
) {
  console.error(
    'usage: node bench/model.mjs infer|train b32|b16|l14|tiny FRAMES BATCH fp32|bf16 [CLASSES] [REPEATS] [DEVICE] ' +
      '[graph|eager], graph not on the CPU',
  );
  process.exit(1);
}
const dtype = dtypes[precision];

setDefaultDevice(device);
const sizes = arch === 'tiny' ? { ...ZOO['ViT-B/32'], ...tiny } : ZOO[archs[arch]];
const geometry = { ...sizes, arch: archs[arch], frames };
const model = new XCLIP(geometry, {
  seed: 1,
  computeDtype: dtype,
  weightDtype: mode === 'infer' ? dtype : 'float32',
  cudaGraph: false, // the whole step is recorded, or nothing
});
const random = new Philox(7);
const normals = (shape) => {
  const pool = Float32Array.from({ length: 4099 }, () => random.normal());
  const values = new Float32Array(shape.reduce((a, b) => a * b));
  for (let i = 0; i < values.length; i += pool.length) values.set(pool.subarray(0, values.length - i), i);
  return tensor(values, shape);
};
const pixels = normals([batch, frames, 3, geometry.imageSize, geometry.imageSize]);
const text = normals([classes, geometry.embedDim]);

const isText = (name) => !/visual\.|mit|prompts/.test(name);
model.freeze(mode === 'infer' ? () => true : isText);

/** Runs of a step that are not measured: they load kernels and make what is made once. */
const WARM_UP = 2;
const seconds = [];
const lateness = [];

async function time(step) {
  const start = performance.now();
  await step();
  seconds.push((performance.now() - start) / 1000);
}

async function infer() {
  const score = () => model.score(model.encodeVideo(pixels), text);
  const graph = execution === 'graph' ? await captureGraph(score) : null;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    lateness.push(now - last - 10);
    last = now;
  }, 10);
  for (let i = 0; i < WARM_UP + repeats; i++) {
    await time(async () => {
      const logits = graph ? graph.replay() : noGrad(() => scope(score));
      await logits.data();
      if (!graph) logits.dispose();
    });
  }
  clearInterval(timer);
  graph?.dispose();
}

async function train() {
  const params = [...model.namedParameters()]
    .filter(([, p]) => p.requiresGrad)
    .map(([name, p]) => ({ name, tensor: p }));
  const optimizer = new AdamW([{ name: 'all', params, lr: 8e-6, weightDecay: 1e-3 }], { betas: [0.9, 0.98] });
  const soft = tensor(new Float32Array(batch * classes).fill(1 / classes), [batch, classes]);
  const loss = tensor([0], []);
  const run = { training: true, seed: 0, step: 0 }; // nothing is drawn: no stochastic depth
  const work = {
    optimizer,
    accumulate: () =>
      scope(() => {
        const value = crossEntropy(model.score(model.encodeVideo(pixels, run), text, run), soft);
        noGrad(() => loss.assign(value));
        backward(value);
      }),
    update: () => optimizer.apply(),
  };
  let graph = null;
  for (let i = 0; i < WARM_UP + repeats; i++) {
    if (i === WARM_UP && execution === 'graph') graph = await StepGraph.record(work);
    await time(async () => {
      if (graph) {
        graph.accumulate();
        graph.update();
      } else {
        work.accumulate();
        optimizer.step();
        optimizer.zeroGrad();
      }
      await loss.data();
      await synchronize();
    });
  }
  graph?.dispose();
}

await (mode === 'infer' ? infer() : train());
const step = median(seconds.slice(WARM_UP));
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
    ...(device !== 'cpu' && { execution }),
    seconds: Number(step.toFixed(device === 'cpu' ? 4 : 6)),
    videosPerSecond: Number((batch / step).toFixed(3)),
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
    peakDeviceMb: Math.round(memory().peakBytes / 2 ** 20),
    ...(device !== 'cpu' && { reservedDeviceMb: Math.round(memory().reservedBytes / 2 ** 20) }),
    ...(lateness.length > 0 && {
      timerLateP99Ms: Number(lateness[Math.floor(lateness.length * 0.99)].toFixed(1)),
    }),
  }),
);
