// As bad_arguments_ops.test.ts, for what the package exports besides operations.
import * as library from '../../lib';
import { nn, ones, optim, scope, type Tensor, tensor, XCLIP, zeros } from '../../lib';
import * as models from '../../lib/models';
import * as ops from '../../lib/ops';
import {
  bodyArgument,
  faultsOf,
  listArgument,
  numberArgument,
  optionArgument,
  type Subject,
  shapeArgument,
  tensorArgument,
  type Wrong,
  wordArgument,
} from '../support/bad_arguments';
import { fixturePath } from '../support/fixture';
import { TINY } from '../support/tiny_geometry';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const tinyGeometry = { ...TINY, vocabSize: 49408 };
const init = new nn.Initializer();
const model = new XCLIP(tinyGeometry, { init: 'scratch' });
afterAll(() => model.dispose());
const x = () => ones([2, 4]);
const param = () => tensor([1], [1], { requiresGrad: true });
const adamw = () => new optim.AdamW([{ params: [['p', param()]], lr: 1 }]);
const clip = fixturePath('video/h264_b_frames.mp4');
const frames = () => {
  const { frames: T, imageSize: S } = tinyGeometry;
  return zeros([1, T, 3, S, S]);
};
const tokens = () => zeros([2, 8], { dtype: 'int32' });

const anything: Wrong[] = [undefined, null, 3, 'x', {}, []].map((value) => ({
  what: JSON.stringify(value) ?? 'undefined',
  value: () => value,
  code: /^ERR_ARGUMENT$/,
}));
const without = (list: readonly Wrong[], ...what: string[]) => list.filter((one) => !what.includes(one.what));
const sizes = numberArgument(0, -1, 0.5, Number.POSITIVE_INFINITY);
const texts: Wrong[] = [
  ...without(anything, '"x"', '[]'),
  { what: 'a list of numbers', value: () => [3], code: /^ERR_ARGUMENT$/ },
  { what: 'no text', value: () => [], code: /^ERR_LABELS$/ },
];
const path = without(anything, '"x"');
const options = optionArgument({});

const axes = numberArgument(7, 0.5).map((one) => ({ ...one, code: /^ERR_(SHAPE|ARGUMENT)$/ }));
const { memory, resetPeakMemory, emptyCache, synchronize, resolveDevice, setDefaultDevice, takeProfile } =
  library;
const ofDevice = {
  memory,
  resetPeakMemory,
  emptyCache,
  synchronize,
  resolveDevice,
  setDefaultDevice,
  takeProfile,
};
const nowhere = wordArgument(/^ERR_DEVICE$/);
const unknown = /^(tensor: )?unknown device /;

interface Row extends Subject {
  /** How messages begin, when not with the last part of the row's name and a colon. */
  names?: RegExp;
}

const table: Record<string, Row> = {
  tensor: {
    call: library.tensor,
    good: () => [[1, 2], [2]],
    wrong: [
      [
        ...without(anything, '3', '[]'),
        { what: 'ragged', value: () => [[1], [1, 2]], code: /^ERR_SHAPE$/ },
        { what: 'texts', value: () => ['x', 'y'], code: /^ERR_ARGUMENT$/ },
      ],
      shapeArgument([3], [-1, -2]).filter(({ what }) => what !== 'null'),
      optionArgument({ dtype: wordArgument(/^ERR_DTYPE$/), device: wordArgument(/^ERR_DEVICE$/) }),
    ],
  },
  'tensor of halves as int64': {
    call: library.tensor,
    good: () => [[1, 2], [2], { dtype: 'int64' }],
    wrong: [
      [0.5, Number.NaN].map((value) => ({
        what: String(value),
        value: () => [1, value],
        code: /^ERR_ARGUMENT$/,
      })),
    ],
    names: /^tensor: /,
  },
  scope: { call: scope, good: () => [() => 3], wrong: [[...bodyArgument, promised()]] },
  noGrad: { call: library.noGrad, good: () => [() => 3], wrong: [[...bodyArgument, promised()]] },
  enableGrad: { call: library.enableGrad, good: () => [() => 3], wrong: [[...bodyArgument, promised()]] },
  keep: { call: library.keep, good: () => [x()], wrong: [anything] },
  backward: {
    call: (root: Tensor, gradient?: Tensor) => library.backward(root, gradient),
    good: () => [ops.mul(tensor([1, 2], [2], { requiresGrad: true }), 2), ones([2])],
    wrong: [
      [...tensorArgument(), { what: 'without a history', value: x, code: /^ERR_NO_GRADIENT$/ }],
      tensorArgument({ shape: () => ones([3]) }).filter(({ what }) => !/undefined|null/.test(what)),
    ],
  },
  checkpoint: {
    call: library.checkpoint,
    good: () => [(a: Tensor) => ops.mul(a, 2), x()],
    wrong: [bodyArgument, tensorArgument()],
  },
  captureGraph: {
    call: (body: () => unknown) => library.captureGraph(body, { device: 'cpu' }).catch(refusedByCpu),
    good: () => [() => x()],
    wrong: [bodyArgument],
  },
  'Tensor.assign': {
    call: (source: Tensor) => zeros([2, 4]).assign(source),
    good: () => [x()],
    wrong: [tensorArgument({ shape: () => ones([3]) })],
  },
  'Tensor.dim': {
    call: (axis: number) => x().dim(axis),
    good: () => [1],
    wrong: [axes],
    names: /^dimension /,
  },
  'Tensor.to': { call: (to: never) => x().to(to), good: () => ['cpu'], wrong: [nowhere], names: unknown },
  ...Object.fromEntries(
    Object.entries(ofDevice).map(([name, call]) => [
      name,
      { call, good: () => ['cpu'], wrong: [nowhere], names: unknown },
    ]),
  ),
  setProfiling: {
    call: library.setProfiling,
    good: () => [false, 'cpu'],
    wrong: [[], nowhere],
    names: unknown,
  },
  setFloat32MatmulPrecision: {
    call: library.setFloat32MatmulPrecision,
    good: () => ['highest'],
    wrong: [anything],
  },
  setThreads: {
    call: library.setThreads,
    good: () => [2],
    wrong: [numberArgument(0, -1, 0.5)],
  },
  'nn.Linear': {
    call: (inputs: number, outputs: number, from: nn.Initializer) => new nn.Linear(inputs, outputs, from),
    good: () => [4, 2, init],
    wrong: [sizes, sizes, anything],
  },
  'nn.LayerNorm': {
    call: (width: number, from: nn.Initializer) => new nn.LayerNorm(width, from),
    good: () => [4, init],
    wrong: [sizes, anything],
  },
  'nn.Embedding': {
    call: (count: number, width: number, from: nn.Initializer) => new nn.Embedding(count, width, from),
    good: () => [3, 4, init],
    wrong: [sizes, sizes, anything],
  },
  'nn.MultiheadAttention': {
    call: (width: number, heads: number, from: nn.Initializer) =>
      new nn.MultiheadAttention(width, heads, from),
    good: () => [8, 2, init],
    wrong: [sizes, [...sizes, ...numberArgument(3)], anything],
  },
  'nn.Mlp': {
    call: (width: number, from: nn.Initializer) => new nn.Mlp(width, from),
    good: () => [4, init],
    wrong: [sizes, anything],
  },
  'nn.ResidualAttentionBlock': {
    call: (width: number, heads: number, from: nn.Initializer) =>
      new nn.ResidualAttentionBlock(width, heads, from),
    good: () => [8, 2, init],
    wrong: [sizes, [...sizes, ...numberArgument(3)], anything],
    names: /^(MultiheadAttention|ResidualAttentionBlock): /,
  },
  'nn.Transformer': {
    call: (width: number, layers: number, heads: number, from: nn.Initializer) =>
      new nn.Transformer(width, layers, heads, from),
    good: () => [8, 1, 2, init],
    wrong: [sizes, without(sizes, '0'), [...sizes, ...numberArgument(3)], anything],
    names: /^(MultiheadAttention|Transformer): /,
  },
  'nn.Initializer': {
    call: (given: nn.InitializerOptions) => new nn.Linear(2, 2, new nn.Initializer(given)),
    good: () => [{ seed: 1 }],
    wrong: [
      optionArgument({
        seed: without(numberArgument(-1, 0.5), 'null'),
        device: wordArgument(/^ERR_DEVICE$/),
        weightDtype: wordArgument(/^ERR_(DTYPE|ARGUMENT)$/),
      }),
    ],
    names: /^(Initializer|random\w+): /,
  },
  'nn.RecordedForward': {
    call: (body: () => { y: Tensor }, parameters: () => Tensor[]) => new nn.RecordedForward(body, parameters),
    good: () => [() => ({ y: x() }), () => []],
    wrong: [bodyArgument, bodyArgument],
  },
  'nn.Module.loadStateDict': {
    call: (state: never, given: never) => new nn.LayerNorm(2, init).loadStateDict(state, given),
    good: () => [
      new Map(
        ['weight', 'bias'].map((name) => [name, { shape: [2], float32: async () => Float32Array.of(1, 2) }]),
      ),
    ],
    wrong: [anything, options],
  },
  'optim.AdamW': {
    call: (groups: never, given: never) => new optim.AdamW(groups, given),
    good: () => [[{ params: [['p', param()]], lr: 1 }]],
    wrong: [
      [
        ...without(anything, '[]', '"x"'),
        { what: 'parameters alone', value: () => [param()], code: /^ERR_ARGUMENT$/ },
        {
          what: 'parameters without names',
          value: () => [{ params: [param()], lr: 1 }],
          code: /^ERR_ARGUMENT$/,
        },
        { what: 'numbers', value: () => [{ params: [3], lr: 1 }], code: /^ERR_ARGUMENT$/ },
        { what: 'no rate', value: () => [{ params: [['p', param()]] }], code: /^ERR_ARGUMENT$/ },
        {
          what: 'bfloat16',
          value: () => [{ params: [['p', zeros([1], { dtype: 'bfloat16' })]], lr: 1 }],
          code: /^ERR_DTYPE$/,
        },
      ],
      optionArgument({ eps: numberArgument(-1).slice(1), betas: shapeArgument([1, 1]).slice(1) }),
    ],
  },
  'optim.clipGradNorm': {
    call: optim.clipGradNorm,
    good: () => [[x()], 1],
    wrong: [listArgument(), numberArgument(0, -1)],
  },
  'optim.LossScaler': {
    call: (given: optim.LossScalerOptions) => new optim.LossScaler(given),
    good: () => [{ scale: 2 }],
    wrong: [
      optionArgument({
        scale: numberArgument(3, -1, 0),
        growthInterval: numberArgument(0, 0.5),
        device: wordArgument(/^ERR_DEVICE$/),
      }),
    ],
    names: /^(LossScaler: |unknown device)/,
  },
  'optim.CosineSchedule': {
    call: (optimizer: optim.AdamW, given: optim.CosineScheduleOptions) =>
      new optim.CosineSchedule(optimizer, given),
    good: () => [adamw(), { totalSteps: 3 }],
    wrong: [
      anything,
      optionArgument(
        { totalSteps: numberArgument(0), warmupSteps: numberArgument(-1), minLr: numberArgument(-1) },
        () => ({ totalSteps: 3 }),
      ),
    ],
  },
  'models.tokenize': {
    call: models.tokenize,
    good: () => [['a'], 77],
    wrong: [texts, numberArgument(0, -1, 0.5)],
  },
  'models.geometryOf': {
    call: models.geometryOf,
    good: () => [library.config.loadConfig({ opts: [] })],
    wrong: [anything],
  },
  'models.createTask': {
    call: async (config: never, names: never) => (await models.createTask(config, names)).dispose(),
    good: () => [tinyConfig(), ['a', 'b']],
    wrong: [anything, texts],
    names: /^createTask: |names 0 classes, but/,
  },
  'models.loadPretrained': {
    call: (into: XCLIP, file: string) => models.loadPretrained(into, file).catch(refusedFile),
    good: () => [model, `${folder}/nowhere`],
    wrong: [anything, path],
    names: /^(loadPretrained|readCheckpoint): /,
  },
  'models.rawStateDict': { call: models.rawStateDict, good: () => [model], wrong: [anything] },
  'models.XCLIP': {
    call: (geometry: never, given: never) => new XCLIP(geometry, given).dispose(),
    good: () => [tinyGeometry, { init: 'none' }],
    wrong: [
      [
        ...anything,
        ...['frames', 'patch', 'visionWidth', 'textHeads'].flatMap((key) =>
          sizes.map(({ what, value, code }) => ({
            what: `${key}: ${what}`,
            value: () => ({ ...tinyGeometry, [key]: value() }),
            code,
          })),
        ),
      ],
      optionArgument(
        {
          device: wordArgument(/^ERR_DEVICE$/),
          computeDtype: wordArgument(/^ERR_(DTYPE|ARGUMENT)$/),
          init: wordArgument(),
        },
        () => ({ init: 'none' }),
      ),
    ],
    names: /^XCLIP: /,
  },
  'models.XCLIP.load': {
    call: (file: string, given: never) => XCLIP.load(file, given).catch(refusedFile),
    good: () => [`${folder}/nowhere`],
    wrong: [path, options],
    names: /^(XCLIP.load|readCheckpoint): /,
  },
  'models.XCLIP.forward': {
    call: (pixels: Tensor, ids: never) => model.forward(pixels, ids),
    good: () => [frames(), tokens()],
    wrong: [
      tensorArgument({ shape: x, dtype: () => ops.cast(frames(), 'int32') }),
      [...anything, { what: 'floats', value: () => ones([2, 8]), code: /^ERR_DTYPE$/ }],
    ],
    names: /^(forward|frames|encodeText|patch_?[eE]mbed|embedding): |^frames must/,
  },
  'models.XCLIP.classify': {
    call: (video: never, names: never, given: never) => model.classify(video, names, given),
    good: () => [clip, ['a', 'b'], { topK: 1 }],
    wrong: [
      without(anything, '"x"', '[]'),
      [...texts, { what: 'a text', value: () => 'a', code: /^ERR_ARGUMENT$/ }],
      optionArgument({
        topK: numberArgument(0, 0.5),
        clips: numberArgument(0, 0.5),
        crops: numberArgument(0, 2),
        deadlineMs: numberArgument(-1),
        seconds: anything.slice(1),
      }),
    ],
    names: /^(classify|VideoReader|tokenize|tokens): /,
  },
  'models.XCLIP.timeline': {
    call: async (video: never, names: never, given: never) => {
      for await (const _ of model.timeline(video, names, given));
    },
    good: () => [clip, ['a', 'b'], { window: 100 }],
    wrong: [
      without(anything, '"x"'),
      texts,
      optionArgument({ window: numberArgument(0, -1), stride: numberArgument(0, -1) }, () => ({
        window: 100,
      })),
    ],
    names: /^(timeline|classify|VideoReader|tokenize|tokens): /,
  },
  'models.XCLIP.embedVideo': {
    call: (video: never, given: never) => model.embedVideo(video, given),
    good: () => [clip],
    wrong: [without(anything, '"x"'), optionArgument({ clips: numberArgument(0, 0.5) })],
    names: /^(embedVideo|classify|VideoReader): /,
  },
  'models.XCLIP.embedText': {
    call: (list: never) => model.embedText(list),
    good: () => [['a']],
    wrong: [[...texts, { what: 'a text', value: () => 'a', code: /^ERR_ARGUMENT$/ }]],
    names: /^(embedText|tokenize): /,
  },
};

function promised(): Wrong {
  return { what: 'an async function', value: () => async () => 3, code: /^ERR_ARGUMENT$/ };
}

/** Good arguments go as far as this. */
function refusedByCpu(error: unknown): void {
  if (!library.hasCode(error, 'ERR_DEVICE')) throw error;
}

function refusedFile(error: unknown): void {
  if (!library.hasCode(error, 'ERR_FILE_NOT_FOUND')) throw error;
}

function tinyConfig(): unknown {
  const custom =
    '{embed_dim: 64, patch: 16, vision_width: 64, vision_layers: 1, text_width: 64, text_layers: 1, prompt_layers: 1}';
  const model = [
    'MODEL.ARCH',
    'custom',
    'MODEL.CUSTOM',
    custom,
    'DATA.INPUT_SIZE',
    '32',
    'DATA.NUM_FRAMES',
    '4',
  ];
  return library.config.loadConfig({ opts: [...model, 'DATA.NUM_CLASSES', '2', 'TRAIN.OPT_LEVEL', 'O0'] });
}

test.each(Object.entries(table))('%s', async (name, { names, ...subject }) => {
  const last = name.split('.').at(-1);
  expect(await faultsOf(subject, names ?? new RegExp(`^${last}: .`))).toEqual([]);
});

test('every function and class of these layers is in a table', () => {
  const functions = (where: string, module: object) =>
    Object.entries(module).flatMap(([name, value]) =>
      typeof value === 'function' ? [`${where}${name}`] : [],
    );
  // Of other layers, or without an argument.
  const others = [
    'CodedError',
    'hasCode',
    'Philox',
    'streamOf',
    'VideoReader',
    'run',
    'defaultDevice',
    'isRecording',
    'float32MatmulPrecision',
  ];
  const known = new Set([...others, ...Object.keys(ops), ...Object.keys(models)]);
  const wanted = [
    ...functions('', library).filter((name) => !known.has(name)),
    ...functions('nn.', nn),
    ...functions('optim.', optim),
    ...functions('models.', models),
  ];
  const rows = Object.keys(table);
  const missing = wanted.filter((name) => !rows.some((row) => row === name || row.startsWith(`${name}.`)));
  expect(missing).toEqual([]);
});
