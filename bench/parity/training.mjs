// Training of the tiny model against the recording: losses, gradients, parameters after updates, learning rates.
import {
  goldenPath,
  largestDifference,
  load,
  mismatches,
  readJson,
  readTensors,
  relativeL2,
} from './golden.mjs';

const { XCLIP } = load('models');
const { parameterGroups } = load('models/xclip/recipe');
const { loadConfig } = load('config');
const { AdamW, CosineSchedule } = load('optim');
const { crossEntropy, mul } = load('ops');
const { backward } = load('tensor/autograd');
const { scope } = load('tensor/scope');
const { tensor } = load('tensor/tensor');

const golden = readJson('tiny_train.json');
const recorded = await readTensors('tiny_train.safetensors');
const inputs = await readTensors('tiny_io.safetensors');
const onCpu = (array, { shape }) => tensor(array, shape, { device: 'cpu' });
const frames = onCpu(Float32Array.from(inputs.get('input.images').data), inputs.get('input.images'));
const soft = onCpu(Float32Array.from(recorded.get('targets.soft').data), recorded.get('targets.soft'));
const hard = tensor(Int32Array.from(recorded.get('targets.hard').data), [2], { device: 'cpu' });
const tokens = {
  ids: Int32Array.from(inputs.get('input.tokens').data),
  shape: inputs.get('input.tokens').shape,
};
const mode = { training: true, seed: 1, step: 0 };

/** A fresh model; with a fixed text tower, frozen as the recipe freezes it. */
async function freshModel(fixText) {
  const model = await XCLIP.load(goldenPath('tiny.pth'), { device: 'cpu', trainable: true });
  if (fixText) model.freeze((name) => !/visual\.|mit|prompts/.test(name));
  return model;
}

async function losses() {
  const model = await freshModel(true);
  const actual = scope(() => {
    const logits = model.forward(frames, tokens, mode);
    return [
      crossEntropy(logits, soft),
      crossEntropy(logits, hard, { labelSmoothing: 0.1 }),
      crossEntropy(logits, hard),
    ];
  });
  const { soft_target, cross_entropy, 'label_smoothing_0.1': smoothed } = golden.losses;
  const numbers = await Promise.all(actual.map((loss) => loss.item()));
  for (const t of [...actual, model]) t.dispose();
  const difference = largestDifference(numbers, [soft_target, smoothed, cross_entropy]);
  return { what: 'losses', difference, allowed: 2e-5 };
}

/** The elements of a gradient that were recorded: some rows of the large ones. */
function recordedPart({ shape, row_step = 1, rows }, all) {
  const width = shape.slice(1).reduce((a, b) => a * b, 1);
  const kept =
    rows ?? Array.from({ length: shape[0] ?? 1 }, (_, row) => row).filter((row) => row % row_step === 0);
  return kept.flatMap((row) => all.slice(row * width, (row + 1) * width));
}

async function gradients(fixText) {
  const model = await freshModel(fixText);
  const loss = scope(() => crossEntropy(model.forward(frames, tokens, mode), soft));
  backward(loss);
  loss.dispose();
  const parameters = model.stateDict();
  let difference = 0;
  let count = 0;
  for (const recordedGradient of golden.gradients.parameters) {
    const { name, trainable_when_text_fixed } = recordedGradient;
    if (fixText && !trainable_when_text_fixed) continue;
    const actual = Array.from(await parameters.get(name).grad.data());
    const wanted = recorded.get(`grad.${name}`).data;
    difference = Math.max(difference, relativeL2(recordedPart(recordedGradient, actual), wanted));
    count++;
  }
  model.dispose();
  const what = `gradients of ${count} tensors, text ${fixText ? 'fixed' : 'trained'}, relative L2`;
  return { what, difference, allowed: 1e-4 };
}

const configOf = ({ LR, FIX_TEXT }) =>
  loadConfig({ opts: ['TRAIN.LR', String(LR), 'MODEL.FIX_TEXT', FIX_TEXT ? 'True' : 'False'] });

const scheduleOf = (optimizer, { LR, EPOCHS, WARMUP_EPOCHS, n_iter_per_epoch, n_iter = n_iter_per_epoch }) =>
  new CosineSchedule(optimizer, {
    totalSteps: EPOCHS * n_iter,
    warmupSteps: WARMUP_EPOCHS * n_iter,
    minLr: LR / 100,
  });

/** Replays a run. @returns the largest parameter error after any update, in units of what is allowed there */
async function replay(tag) {
  const run = golden.runs[tag];
  const model = await freshModel(run.FIX_TEXT);
  const optimizer = new AdamW(parameterGroups(model, configOf(run)), { betas: [0.9, 0.98] });
  const schedule = scheduleOf(optimizer, run);
  const flatIndex = recorded.get('sample.flat_index').data;
  const after = recorded.get(`run.${tag}.params`);
  const reliable = recorded.get(`run.${tag}.reliable`).data;
  let parameterError = 0;
  let lossError = 0;
  for (const [update, step] of run.steps.entries()) {
    let loss;
    for (let micro = 0; micro < run.ACCUMULATION_STEPS; micro++) {
      const share = scope(() =>
        mul(crossEntropy(model.forward(frames, tokens, mode), soft), 1 / run.ACCUMULATION_STEPS),
      );
      backward(share);
      loss = await share.item();
      share.dispose();
    }
    const rates = new Map(optimizer.groups.flatMap(({ params, lr }) => params.map(({ name }) => [name, lr])));
    optimizer.step();
    optimizer.zeroGrad();
    schedule.stepUpdate(step.idx);
    lossError = Math.max(lossError, Math.abs(loss - step.loss));
    const expected = after.data.slice(update * after.shape[1], (update + 1) * after.shape[1]);
    const state = model.stateDict();
    for (const { name, offset, count } of golden.sample_layout) {
      const all = await state.get(name).data();
      const allowed = 1e-6 + 0.02 * (rates.get(name) ?? 0);
      for (let i = offset; i < offset + count; i++) {
        if (reliable[i] !== 1) continue;
        parameterError = Math.max(parameterError, Math.abs(all[flatIndex[i]] - expected[i]) / allowed);
      }
    }
  }
  optimizer.dispose();
  model.dispose();
  return { parameterError, lossError };
}

async function updates() {
  const runs = [];
  for (const tag of Object.keys(golden.runs)) runs.push(await replay(tag));
  return [
    {
      what: `losses of ${runs.length} training runs`,
      difference: Math.max(...runs.map(({ lossError }) => lossError)),
      allowed: 2e-5,
    },
    {
      what: 'parameters after each update, in units of 1e-6 + 0.02 learning rates',
      difference: Math.max(...runs.map(({ parameterError }) => parameterError)),
      allowed: 1,
    },
  ];
}

async function groupsAndRates() {
  const pairs = [];
  let difference = 0;
  for (const fixText of [true, false]) {
    const model = await freshModel(fixText);
    const groups = parameterGroups(model, configOf({ LR: 8e-6, FIX_TEXT: fixText }));
    const expected = golden.param_groups[fixText ? 'fix_text_true' : 'fix_text_false'].groups;
    for (const [i, { params, weightDecay }] of groups.entries()) {
      const names = params.map(({ name }) => name);
      pairs.push([
        [names, weightDecay],
        [expected[i].names, expected[i].weight_decay],
      ]);
    }
    model.dispose();
  }
  const model = await freshModel(true);
  for (const schedule of golden.lr_schedules) {
    const optimizer = new AdamW(parameterGroups(model, configOf({ ...schedule, FIX_TEXT: true })));
    const rates = scheduleOf(optimizer, schedule);
    const compare = (expected) => {
      for (const [i, { lr }] of optimizer.groups.entries())
        difference = Math.max(difference, Math.abs(lr - expected[i]) / (expected[i] || 1));
    };
    for (const { step_update_arg, lr_used, lr_after } of schedule.rows) {
      compare(lr_used);
      rates.stepUpdate(step_update_arg);
      compare(lr_after);
    }
    optimizer.dispose();
  }
  model.dispose();
  return [
    { what: `parameter groups, wrong of ${pairs.length}`, difference: mismatches(pairs), allowed: 0 },
    { what: 'learning rates, relative', difference, allowed: 1e-12 },
  ];
}

export const rows = async () => [
  await losses(),
  await gradients(false),
  await gradients(true),
  ...(await updates()),
  ...(await groupsAndRates()),
];
