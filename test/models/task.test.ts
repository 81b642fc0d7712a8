import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../lib/config/load';
import type { Config } from '../../lib/config/schema';
import { writeTorch } from '../../lib/io';
import { createTask, rawStateDict, type Task } from '../../lib/models';
import { isVideoParameter } from '../../lib/models/xclip/parameters';
import { memory } from '../../lib/native/device';
import type { Mode } from '../../lib/nn/module';
import { concat, randomNormal } from '../../lib/ops';
import { backward, noGrad } from '../../lib/tensor/autograd';
import { keep, scope } from '../../lib/tensor/scope';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { expectClose } from '../support/check_op';
import { goldenPath } from '../support/golden';

const names = ['red square', 'blue circle', 'green star'];

function configure(...opts: string[]): Config {
  const custom =
    '{embed_dim: 64, patch: 16, vision_width: 64, vision_layers: 3, text_width: 64, text_layers: 1, prompt_layers: 1}';
  const defaults = { 'MODEL.ARCH': 'custom', 'MODEL.CUSTOM': custom, 'MODEL.DEVICE': 'auto' };
  const data = { 'DATA.INPUT_SIZE': '32', 'DATA.NUM_FRAMES': '4', 'DATA.NUM_CLASSES': '3' };
  const train = { 'TRAIN.OPT_LEVEL': 'O0' };
  return loadConfig({ opts: [...Object.entries({ ...defaults, ...data, ...train }).flat(), ...opts] });
}

const made: { dispose(): void }[] = [];
async function make(...opts: string[]): Promise<Task> {
  const task = await createTask(configure(...opts), names);
  made.push(task);
  return task;
}
afterEach(() => {
  for (const item of made.splice(0)) item.dispose();
});

function clips(count = 4): Tensor {
  const frames = keep(randomNormal([count, 4, 3, 32, 32], { seed: 4, device: 'auto' }));
  made.push(frames);
  return frames;
}

async function logits(task: Task, mode: Mode, frames = clips()): Promise<number[][]> {
  const result = noGrad(() => task.forward(frames, mode));
  const values = (await result.toArray()) as number[][];
  result.dispose();
  return values;
}

const evaluate: Mode = { training: false, seed: 1, step: 0 };
const train: Mode = { training: true, seed: 1, step: 0 };

test('a task says what the engine needs to know', async () => {
  const task = await make();
  expect([task.name, task.frames, task.inputSize, task.computeDtype]).toEqual(['xclip', 4, 32, 'float32']);
  expect(task.classNames).toEqual(names);
  expect((await make('TRAIN.OPT_LEVEL', 'O1')).computeDtype).toBe('bfloat16');
});

test('the seed decides the initial values', async () => {
  const first = await logits(await make('SEED', '5'), evaluate);
  expect(await logits(await make('SEED', '5'), evaluate)).toEqual(first);
  expect(await logits(await make('SEED', '6'), evaluate)).not.toEqual(first);
});

test('parts that pretrained weights lack start as the reference starts them, and widely where there are none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'task-'));
  try {
    const scratch = await make();
    const weights = [...rawStateDict(scratch.model)].filter(([name]) => !isVideoParameter(name));
    const path = join(folder, 'clip.pth');
    await writeTorch(path, { model: new Map(weights) });
    const pretrained = await make('MODEL.PRETRAINED', path);
    const spread = async ({ model }: Task) => {
      const values = (await model.stateDict().get('mit.positional_embedding')!.data()) as Float32Array;
      return Math.hypot(...values) / Math.sqrt(values.length);
    };
    expect((await spread(scratch)) / 0.4).toBeCloseTo(1, 0);
    expect((await spread(pretrained)) / 0.02).toBeCloseTo(1, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('without a rate, training and evaluation compute the same', async () => {
  const task = await make();
  expect(await logits(task, train)).toEqual(await logits(task, evaluate));
});

test('stochastic depth differs by step and seed, and is repeatable', async () => {
  const task = await make('MODEL.DROP_PATH_RATE', '0.5');
  const frames = clips(6);
  const plain = await logits(task, evaluate, frames);
  const first = await logits(task, train, frames);
  expect(await logits(task, train, frames)).toEqual(first);
  expect(await logits(task, { ...train, step: 1 }, frames)).not.toEqual(first);
  expect(await logits(task, { ...train, seed: 2 }, frames)).not.toEqual(first);
  expect(first).not.toEqual(plain);
});

test('every sample, block and branch has draws of its own; the first block drops nothing', async () => {
  const task = await make('MODEL.DROP_PATH_RATE', '0.5');
  const clip = clips(1);
  const twins = keep(concat(new Array<Tensor>(24).fill(clip), 0));
  made.push(twins);
  // Six branches at rates 0.25 and 0.5; with a common draw there would be three outcomes at most.
  const outcomes = new Set((await logits(task, train, twins)).map(String));
  expect(outcomes.size).toBeGreaterThan(6);
  const shallow =
    '{embed_dim: 64, patch: 16, vision_width: 64, vision_layers: 1, text_width: 64, text_layers: 1}';
  const single = await make('MODEL.DROP_PATH_RATE', '0.5', 'MODEL.CUSTOM', shallow);
  expect(await logits(single, train, twins)).toEqual(await logits(single, evaluate, twins));
});

test('recomputing activations draws the same stochastic depth again', async () => {
  const gradientsWith = async (checkpoint: string) => {
    const config = configure('MODEL.DROP_PATH_RATE', '0.5', 'TRAIN.USE_CHECKPOINT', checkpoint);
    const task = await createTask(config, names);
    made.push(task);
    const loss = scope(() =>
      task.loss(task.forward(clips(), train), tensor(new Int32Array([0, 1, 2, 0])), config),
    );
    backward(loss);
    loss.dispose();
    const gradient = task.model.stateDict().get('visual.conv1.weight')!.grad!;
    return (await gradient.data()) as Float32Array;
  };
  const plain = await gradientsWith('False');
  const again = await gradientsWith('True');
  expectClose('gradient', again, plain, 1e-5 * Math.max(...plain.map(Math.abs)));
});

test('a training step in bfloat16 goes the way of the float32 one, with float32 gradients', async () => {
  const step = async (level: string) => {
    const config = configure('TRAIN.OPT_LEVEL', level, 'MODEL.FIX_TEXT', 'False');
    const task = await createTask(config, names);
    made.push(task);
    const soft = new Float32Array(12).fill(1 / 3);
    const loss = scope(() => task.loss(task.forward(clips(), train), tensor(soft, [4, 3]), config));
    backward(loss);
    const value = await loss.item();
    loss.dispose();
    const gradients = new Map<string, number[]>();
    for (const [name, parameter] of task.model.namedParameters()) {
      expect([name, parameter.grad?.dtype]).toEqual([name, 'float32']);
      gradients.set(name, Array.from((await parameter.grad!.data()) as Float32Array));
    }
    return { value, gradients };
  };
  const [full, half] = [await step('O0'), await step('O1')];
  expect(Math.abs(half.value - full.value)).toBeLessThan(0.02 * full.value);
  for (const name of ['visual.conv1.weight', 'mit.resblocks.0.mlp.c_fc.weight', 'text_projection']) {
    const [a, b] = [full.gradients.get(name)!, half.gradients.get(name)!];
    const cosine = a.reduce((s, x, i) => s + x * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));
    expect([name, cosine > 0.98]).toEqual([name, true]);
  }
});

test('a fixed text tower is frozen and a disposed task leaves nothing', async () => {
  const before = memory().liveTensors;
  const task = await createTask(configure(), names);
  const frozen = [...task.model.namedParameters()].filter(([, p]) => !p.requiresGrad).map(([name]) => name);
  expect(frozen).toContain('token_embedding.weight');
  expect(frozen).toContain('logit_scale');
  expect(frozen.some((name) => /visual\.|mit|prompts/.test(name))).toBe(false);
  await logits(task, evaluate);
  task.dispose();
  for (const item of made.splice(0)) item.dispose();
  expect(memory().liveTensors).toBe(before);
});

test('what does not fit is refused before anything is made', async () => {
  const before = memory().liveTensors;
  await expect(createTask(configure(), names.slice(1))).rejects.toMatchObject({
    code: 'ERR_LABELS',
    message: expect.stringMatching(/2 classes.*NUM_CLASSES is 3/),
  });
  const other = configure('MODEL.PRETRAINED', goldenPath('tiny.pth'));
  await expect(createTask(other, names)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_MISMATCH' });
  const small = configure(
    'MODEL.CUSTOM',
    '{embed_dim: 64, patch: 16, vision_width: 64, vision_layers: 1, text_width: 64, vocab_size: 100}',
  );
  await expect(createTask(small, names)).rejects.toMatchObject({ code: 'ERR_INDEX_RANGE' });
  expect(memory().liveTensors).toBe(before);
});
