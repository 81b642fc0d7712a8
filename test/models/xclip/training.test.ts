import type { Config } from '../../../lib/config/schema';
import { parameterGroups, XclipTask } from '../../../lib/models/xclip/recipe';
import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { memory } from '../../../lib/native/device';
import { evaluation, type Mode } from '../../../lib/nn/module';
import { crossEntropy, mul } from '../../../lib/ops';
import { AdamW } from '../../../lib/optim';
import { backward } from '../../../lib/tensor/autograd';
import { scope } from '../../../lib/tensor/scope';
import { type Tensor, tensor } from '../../../lib/tensor/tensor';
import { expectClose } from '../../support/check_op';
import { goldenPath, readGolden } from '../../support/golden';
import { readSafetensors } from '../../support/safetensors';
import { loadTiny, recorded, relativeL2, tinyFrames, tinyTokens } from '../../support/tiny_model';

interface Gradient {
  name: string;
  shape: number[];
  trainable_when_text_fixed: boolean;
  row_step?: number;
  rows?: number[];
  l2: number;
}
interface Group {
  lr: number;
  weight_decay: number;
  names: string[];
}
interface Run {
  FIX_TEXT: boolean;
  ACCUMULATION_STEPS: number;
  steps: { loss: number; lr_used: number[] }[];
}
interface Golden {
  losses: Record<'soft_target' | 'label_smoothing_0.1' | 'cross_entropy', number>;
  gradients: { parameters: Gradient[] };
  param_groups: Record<'fix_text_true' | 'fix_text_false', { groups: Group[]; frozen: string[] }>;
  sample_layout: { name: string; offset: number; count: number }[];
  runs: Record<string, Run>;
}

const golden = readGolden<Golden>('tiny_train.json');
const values = readSafetensors(goldenPath('tiny_train.safetensors'));
const train: Mode = { training: true, seed: 1, step: 0 };
const TEXT_SIDE = (name: string) => !['visual.', 'mit', 'prompts'].some((part) => name.includes(part));

let model: XCLIP;
let frames: Tensor;
beforeEach(async () => {
  model = await loadTiny();
  frames = tinyFrames();
});
afterEach(() => {
  model.dispose();
  frames.dispose();
});

function softTargets(): Tensor {
  const { data, shape } = values.get('targets.soft')!;
  return tensor(Float32Array.from(data), shape, { device: 'auto' });
}

function softLoss(mode: Mode = train): Tensor {
  return scope(() => crossEntropy(model.forward(frames, tinyTokens(), mode), softTargets()));
}

async function gradients(): Promise<Map<string, Float32Array>> {
  const result = new Map<string, Float32Array>();
  for (const [name, parameter] of model.namedParameters()) {
    if (parameter.grad) result.set(name, (await parameter.grad.data()) as Float32Array);
    parameter.grad?.dispose();
    parameter.grad = null;
  }
  return result;
}

test('losses are the recorded ones', async () => {
  const config = { AUG: { LABEL_SMOOTH: 0.1 } } as Config;
  const task = Object.create(XclipTask.prototype) as XclipTask;
  const labels = Int32Array.from(values.get('targets.hard')!.data);
  const soft = Float32Array.from(values.get('targets.soft')!.data);
  const losses = scope(() => {
    const logits = model.forward(frames, tinyTokens(), train);
    const [classes, shares] = [tensor(labels), tensor(soft, logits.shape)];
    return [
      task.loss(logits, shares, config),
      task.loss(logits, classes, config),
      task.loss(logits, classes, { AUG: { LABEL_SMOOTH: 0 } } as Config),
    ];
  });
  const { losses: expected } = golden;
  const actual = await Promise.all(losses.map((loss) => loss.item()));
  expectClose(
    'losses',
    actual,
    [expected.soft_target, expected['label_smoothing_0.1'], expected.cross_entropy],
    2e-5,
  );
  for (const loss of losses) loss.dispose();
});

/** The elements of a gradient that were recorded. */
function recordedPart({ name, shape, row_step, rows }: Gradient, all: Float32Array): number[] {
  const width = shape.slice(1).reduce((a, b) => a * b, 1);
  const count = shape[0] ?? 1;
  const kept =
    rows ?? Array.from({ length: count }, (_, row) => row).filter((row) => row % (row_step ?? 1) === 0);
  if (all.length !== count * width) throw new Error(`${name} has a gradient of ${all.length} elements`);
  return kept.flatMap((row) => Array.from(all.subarray(row * width, (row + 1) * width)));
}

test.each([false, true])('gradients are the recorded ones, text fixed: %s', async (fixed) => {
  if (fixed) model.freeze(TEXT_SIDE);
  const before = memory().liveTensors;
  const loss = softLoss();
  backward(loss);
  loss.dispose();
  const actual = await gradients();
  const expected = golden.gradients.parameters.filter((p) => !fixed || p.trainable_when_text_fixed);
  expect([...actual.keys()].sort()).toEqual(expected.map(({ name }) => name).sort());
  for (const gradient of expected) {
    const all = actual.get(gradient.name)!;
    const wanted = values.get(`grad.${gradient.name}`)!.data;
    const error = relativeL2(recordedPart(gradient, all), wanted);
    if (!(error <= 1e-4)) throw new Error(`gradient of ${gradient.name} is off by ${error} of its norm`);
    // The rows that were not recorded count in the norm.
    expect(Math.abs(Math.hypot(...all) / gradient.l2 - 1)).toBeLessThan(1e-4);
  }
  // Only the cached text features of a fixed text tower may stay.
  expect(memory().liveTensors - before).toBe(fixed ? 1 : 0);
});

test.each(['float32', 'bfloat16'] as const)('recomputing activations changes no bit, %s', async (dtype) => {
  model.dispose();
  model = await loadTiny({ dtype });
  const plain = softLoss();
  backward(plain);
  const expected = await gradients();
  const checkpointed = softLoss({ ...train, checkpoint: true });
  backward(checkpointed);
  const actual = await gradients();
  expect(await checkpointed.item()).toBe(await plain.item());
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  const changed = [...expected].filter(([name, gradient]) =>
    gradient.some((value, i) => !Object.is(value, actual.get(name)![i])),
  );
  expect(changed.map(([name]) => name)).toEqual([]);
  plain.dispose();
  checkpointed.dispose();
});

test('recomputing activations reaches blocks behind a frozen patch embedding', async () => {
  model.freeze((name) => TEXT_SIDE(name) || /^visual\.(class|pos|conv1|ln_pre)/.test(name));
  const loss = softLoss({ ...train, checkpoint: true });
  backward(loss);
  loss.dispose();
  const actual = await gradients();
  for (const block of [0, 1, 2]) {
    const name = `visual.transformer.resblocks.${block}.mlp.c_fc.bias`;
    expect([name, relativeL2(actual.get(name)!, values.get(`grad.${name}`)!.data) < 1e-4]).toEqual([
      name,
      true,
    ]);
  }
});

const config = (train: Partial<Config['TRAIN']> = {}) =>
  ({
    TRAIN: {
      LR: 8e-6,
      LR_SCALE_NEW: 10,
      WEIGHT_DECAY: 0.001,
      TEXT_LR_SCALE: 1,
      TEXT_LR_RAMP: false,
      ...train,
    },
  }) as Config;

test.each([true, false])('parameter groups are those of the reference, text fixed: %s', (fixed) => {
  if (fixed) model.freeze(TEXT_SIDE);
  const expected = golden.param_groups[fixed ? 'fix_text_true' : 'fix_text_false'];
  const groups = parameterGroups(model, config());
  expect(groups.map((g) => g.params.map((p) => p.name))).toEqual(expected.groups.map((g) => g.names));
  groups.forEach((group, i) => {
    expect(Math.abs(group.lr / expected.groups[i]!.lr - 1)).toBeLessThan(1e-12);
    expect(group.weightDecay).toBe(expected.groups[i]!.weight_decay);
  });
  const frozen = [...model.namedParameters()].filter(([, p]) => !p.requiresGrad).map(([name]) => name);
  expect(frozen.sort()).toEqual([...expected.frozen].sort());
});

test('a slow text tower has groups of its own', () => {
  const groups = parameterGroups(model, config({ TEXT_LR_SCALE: 0.1, TEXT_LR_RAMP: true }));
  const text = groups.filter((group) => group.ramp);
  expect(text.map(({ name, lrScale }) => [name, lrScale])).toEqual([
    ['text decay', 0.1],
    ['text no-decay', 0.1],
  ]);
  const names = text.flatMap((group) => group.params.map((p) => p.name));
  expect(names).toContain('token_embedding.weight');
  expect(names.every((name) => TEXT_SIDE(name) && name !== 'logit_scale')).toBe(true);
  expect(groups.flatMap((group) => group.params)).toHaveLength(143);
  const textGroups = (train: object) =>
    parameterGroups(model, config(train)).filter(({ name }) => name.startsWith('text'));
  for (const either of [{ TEXT_LR_SCALE: 0.1 }, { TEXT_LR_RAMP: true }])
    expect(textGroups(either)).toHaveLength(2);
  expect(textGroups({})).toEqual([]);
});

/** Trains on the recorded batch as run `tag` did; yields after each update. */
async function* replay(run: Run): AsyncGenerator<{ loss: number; learningRates: Map<string, number> }> {
  if (run.FIX_TEXT) model.freeze(TEXT_SIDE);
  const groups = parameterGroups(model, config());
  const optimizer = new AdamW(groups, { betas: [0.9, 0.98] });
  for (const { lr_used } of run.steps) {
    let loss = 0;
    for (let micro = 0; micro < run.ACCUMULATION_STEPS; micro++) {
      const scaled = scope(() => mul(softLoss(), 1 / run.ACCUMULATION_STEPS));
      backward(scaled);
      loss = await scaled.item();
      scaled.dispose();
    }
    for (const [g, group] of optimizer.groups.entries()) group.lr = lr_used[g]!;
    optimizer.step();
    optimizer.zeroGrad();
    const names = groups.map(({ params }) => params.map(({ name }) => name));
    yield { loss, learningRates: new Map(names.flatMap((own, g) => own.map((name) => [name, lr_used[g]!]))) };
  }
  optimizer.dispose();
}

test.each(Object.keys(golden.runs))('run %s ends where the reference ends', async (tag) => {
  const run = golden.runs[tag]!;
  const flatIndex = values.get('sample.flat_index')!.data;
  const after = values.get(`run.${tag}.params`)!;
  const reliable = values.get(`run.${tag}.reliable`)!.data;
  let update = 0;
  for await (const { loss, learningRates } of replay(run)) {
    expect(Math.abs(loss - run.steps[update]!.loss)).toBeLessThan(2e-5);
    const expected = after.data.slice(update * after.shape[1]!, (update + 1) * after.shape[1]!);
    const state = model.stateDict();
    for (const { name, offset, count } of golden.sample_layout) {
      const all = (await state.get(name)!.data()) as Float32Array;
      const positions = Array.from({ length: count }, (_, i) => offset + i).filter((i) => reliable[i] === 1);
      expectClose(
        `${name} after update ${update}`,
        positions.map((i) => all[flatIndex[i]!]!),
        positions.map((i) => expected[i]!),
        1e-6 + 0.02 * (learningRates.get(name) ?? 0),
      );
    }
    update++;
  }
  expect(update).toBe(run.steps.length);
  const logits = model.forward(frames, tinyTokens(), evaluation);
  const expected = values.get(`run.${tag}.logits_after`)!.data;
  const actual = (await logits.data()) as Float32Array;
  logits.dispose();
  // Parameters that float32 noise decides differ by whole steps; they hardly move the logits.
  expectClose('logits after', actual, expected, 1e-3);
  if (tag === 'no_warmup') expect(relativeL2(recorded.get('logits')!.data, expected)).toBeGreaterThan(0.1);
});
