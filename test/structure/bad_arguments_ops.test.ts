// Whatever a function of the library is given, it works or says in one coded error which function refuses what.
import * as ops from '../../lib/ops';
import { ones, zeros } from '../../lib/ops';
import {
  faultsOf,
  listArgument,
  numberArgument,
  optionArgument,
  optionalTensor,
  type Subject,
  shapeArgument,
  tensorArgument,
  type Wrong,
  wordArgument,
} from '../support/bad_arguments';

const ints = (...shape: number[]) => zeros(shape, { dtype: 'int32' });
const bytes = () => zeros([2, 4], { dtype: 'uint8' });
const x = () => ones([2, 4]);
const axis = numberArgument(0.5, 7, -7);
const booleans: Wrong[] = numberArgument().filter(({ what }) => what === 'a text');
const device: Record<string, readonly Wrong[]> = { device: wordArgument(/^ERR_(DEVICE|ARGUMENT)$/) };
const make = { ...device, dtype: wordArgument(/^ERR_(DTYPE|ARGUMENT)$/) };
const seeds = { seed: numberArgument(-1, 0.5), stream: numberArgument(-1, 0.5), ...device };

const unary: Subject = {
  call: () => {},
  good: () => [x()],
  wrong: [tensorArgument({ dtype: bytes })],
};
const binary: Subject = {
  call: () => {},
  good: () => [x(), x()],
  wrong: [
    tensorArgument({ shape: () => ones([3]), dtype: bytes }),
    tensorArgument({ shape: () => ones([3]), dtype: bytes }).filter(({ what }) => what !== 'a number'),
  ],
};
const reduction: Subject = {
  call: () => {},
  good: () => [x(), [0]],
  wrong: [
    tensorArgument({ dtype: bytes }),
    [...shapeArgument([5]), ...numberArgument(7, 0.5).slice(1)],
    booleans,
  ],
};
const softmax: Subject = {
  call: () => {},
  good: () => [x(), -1],
  wrong: [tensorArgument({ dtype: bytes }), axis],
};
const plan = {
  frames: [0],
  resize: null,
  crops: [[0, 0, 4, 4]],
  size: 4,
  flip: false,
  gray: false,
  jitter: null,
  mean: [0, 0, 0],
  std: [1, 1, 1],
};

/** By the name of the function; the function itself is the one of the index. */
const table: Record<string, Omit<Subject, 'call'>> = {
  ...Object.fromEntries(
    [
      'neg',
      'exp',
      'log',
      'sqrt',
      'rsqrt',
      'abs',
      'square',
      'tanh',
      'sigmoid',
      'relu',
      'gelu',
      'quickGelu',
      'sin',
      'cos',
    ].map((name) => [name, unary]),
  ),
  ...Object.fromEntries(
    ['add', 'sub', 'mul', 'div', 'maximum', 'minimum', 'pow'].map((name) => [name, binary]),
  ),
  ...Object.fromEntries(['sum', 'mean', 'max', 'min'].map((name) => [name, reduction])),
  softmax,
  logSoftmax: softmax,
  argmax: { good: () => [x(), 1], wrong: [tensorArgument({ dtype: bytes }), axis] },
  attention: {
    good: () => [ones([1, 2, 4]), ones([1, 2, 4]), ones([1, 2, 4]), { heads: 2 }],
    wrong: [
      ...[0, 1, 2].map(() => tensorArgument({ shape: x, dtype: () => ints(1, 2, 4) })),
      optionArgument({ heads: numberArgument(0, -1, 3, 0.5), causal: booleans }, () => ({ heads: 2 })),
    ],
  },
  selfAttention: {
    good: () => [ones([1, 2, 12]), { heads: 2 }],
    wrong: [
      tensorArgument({ shape: x, dtype: () => ints(1, 2, 12) }),
      optionArgument(
        { heads: numberArgument(0, -1, 3, 0.5), causal: booleans, queries: numberArgument(-1, 7, 0.5) },
        () => ({
          heads: 2,
        }),
      ),
    ],
  },
  cast: { good: () => [x(), 'bfloat16'], wrong: [tensorArgument(), wordArgument(/^ERR_(DTYPE|ARGUMENT)$/)] },
  full: {
    good: () => [[2, 4], 1],
    wrong: [shapeArgument([-1], [1e15, 1e15]), wordArgument().slice(0, 1), optionArgument(make)],
  },
  zeros: { good: () => [[2, 4]], wrong: [shapeArgument([-1], [1e15, 1e15]), optionArgument(make)] },
  ones: { good: () => [[2, 4]], wrong: [shapeArgument([-1], [1e15, 1e15]), optionArgument(make)] },
  arange: {
    good: () => [0, 3],
    wrong: [
      numberArgument(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
      numberArgument(Number.POSITIVE_INFINITY, 1e15),
      optionArgument(make),
    ],
  },
  concat: { good: () => [[x(), x()], 0], wrong: [listArgument(), axis] },
  stack: { good: () => [[x(), x()], 0], wrong: [listArgument(), axis] },
  slice: {
    good: () => [x(), 1, 0, 2],
    wrong: [tensorArgument(), axis, numberArgument(0.5, 7), numberArgument(0.5, 7, -7)],
  },
  permute: { good: () => [x(), [1, 0]], wrong: [tensorArgument(), shapeArgument([0, 0], [0], [0, 5])] },
  transpose: { good: () => [x()], wrong: [tensorArgument({ shape: () => ones([3]) })] },
  reshape: { good: () => [x(), [4, 2]], wrong: [tensorArgument(), shapeArgument([3], [-1, -1], [-2, -4])] },
  expand: { good: () => [x(), [3, 2, 4]], wrong: [tensorArgument(), shapeArgument([3], [2, 5], [-1])] },
  crossEntropy: {
    good: () => [x(), ints(2)],
    wrong: [
      tensorArgument({ shape: () => ones([4]), dtype: bytes }),
      tensorArgument({ shape: () => ints(3), dtype: () => zeros([2], { dtype: 'uint8' }) }),
      optionArgument({ labelSmoothing: numberArgument(-1, 1.5) }),
    ],
  },
  contrastiveLoss: {
    good: () => [ones([3, 3])],
    wrong: [tensorArgument({ shape: x, dtype: () => ints(3, 3) })],
  },
  // Rows of any dtype can be copied.
  embedding: {
    good: () => [ints(3), x()],
    wrong: [tensorArgument({ dtype: x }), tensorArgument({ shape: () => ones([4]) })],
  },
  gatherRows: {
    good: () => [ones([2, 3, 4]), ints(2)],
    wrong: [tensorArgument({ shape: x }), tensorArgument({ shape: () => ints(3), dtype: () => ones([2]) })],
  },
  l2Normalize: {
    good: () => [x()],
    wrong: [tensorArgument({ dtype: bytes }), optionArgument({ eps: numberArgument(-1) })],
  },
  layerNorm: {
    good: () => [x(), ones([4]), ones([4])],
    wrong: [
      tensorArgument({ shape: () => ones([2, 3]), dtype: bytes }),
      tensorArgument({ shape: () => ones([3]), dtype: () => ints(4) }),
      tensorArgument({ shape: () => ones([3]), dtype: () => ints(4) }),
      optionArgument({ eps: numberArgument(-1), append: optionalTensor({ shape: x }) }),
    ],
  },
  linear: {
    good: () => [x(), ones([3, 4]), ones([3])],
    wrong: [
      tensorArgument({ shape: () => ones([2, 3]), dtype: bytes }),
      tensorArgument({ shape: () => ones([3, 5]), dtype: () => ints(3, 4) }),
      optionalTensor({ shape: () => ones([4]), dtype: () => ints(3) }),
      optionArgument({
        activation: wordArgument(),
        residual: optionalTensor({ shape: () => ones([2, 4]), dtype: () => ints(2, 3) }),
      }),
    ],
  },
  matmul: {
    good: () => [x(), ones([4, 3])],
    wrong: [
      tensorArgument({ shape: () => ones([2, 3]), dtype: bytes }),
      tensorArgument({ shape: () => ones([3, 4]), dtype: () => ints(4, 3) }),
      optionArgument({ transposeA: booleans, transposeB: booleans, alpha: numberArgument().slice(0, 2) }),
    ],
  },
  mlp: {
    good: () => [x(), { weight: ones([6, 4]), bias: ones([6]) }, { weight: ones([4, 6]), bias: ones([4]) }],
    wrong: [
      tensorArgument({ shape: () => ones([2, 3]), dtype: bytes }),
      optionArgument({ weight: tensorArgument({ shape: x }), bias: optionalTensor({ shape: x }) }, () => ({
        weight: ones([6, 4]),
      })),
      optionArgument({ weight: tensorArgument({ shape: x }), bias: optionalTensor({ shape: x }) }, () => ({
        weight: ones([4, 6]),
      })),
      optionArgument({ residual: optionalTensor({ shape: () => ones([4]) }) }),
    ],
  },
  patchEmbed: {
    good: () => [ones([1, 3, 4, 4]), ones([5, 3, 2, 2]), ones([5])],
    wrong: [
      tensorArgument({ shape: x, dtype: () => ints(1, 3, 4, 4) }),
      tensorArgument({ shape: x, dtype: () => ints(5, 3, 2, 2) }),
      optionalTensor({ shape: x, dtype: () => ints(5) }),
    ],
  },
  pixels: {
    good: () => [zeros([48], { dtype: 'uint8' }), [{ offset: 0, width: 4, height: 4, plan }]],
    wrong: [
      tensorArgument({ dtype: () => ones([48]) }),
      [
        { what: 'null', value: () => null, code: /^ERR_ARGUMENT$/ },
        { what: 'nothing to do', value: () => [], code: /^ERR_ARGUMENT$/ },
        { what: 'numbers', value: () => [3], code: /^ERR_ARGUMENT$/ },
        ...['offset', 'width', 'height'].flatMap((name) =>
          [Number.NaN, -1, 1e9, 'x', null].map((value) => ({
            what: `${name} of ${value}`,
            value: () => [{ offset: 0, width: 4, height: 4, plan, [name]: value }],
            code: /^ERR_(ARGUMENT|SHAPE|INDEX_RANGE)$/,
          })),
        ),
        {
          what: 'a plan without crops',
          value: () => [{ offset: 0, width: 4, height: 4, plan: { ...plan, crops: undefined } }],
          code: /^ERR_ARGUMENT$/,
        },
      ],
      wordArgument(/^ERR_(DTYPE|ARGUMENT)$/),
    ],
  },
  randomUniform: {
    good: () => [[2], { seed: 1 }],
    wrong: [
      shapeArgument([-1], [1e15, 1e15]),
      optionArgument({ ...seeds, low: numberArgument(), high: numberArgument() }, () => ({ seed: 1 })),
    ],
  },
  randomNormal: {
    good: () => [[2], { seed: 1 }],
    wrong: [
      shapeArgument([-1], [1e15, 1e15]),
      optionArgument({ ...seeds, mean: numberArgument(), std: numberArgument(-1) }, () => ({ seed: 1 })),
    ],
  },
  randomTruncatedNormal: {
    good: () => [[2], { seed: 1, low: -1, high: 1 }],
    wrong: [
      shapeArgument([-1], [1e15, 1e15]),
      optionArgument(
        {
          ...seeds,
          mean: numberArgument(),
          std: numberArgument(-1),
          low: numberArgument(2),
          high: numberArgument(-2),
        },
        () => ({ seed: 1, low: -1, high: 1 }),
      ),
    ],
  },
  dropPath: {
    good: () => [x(), { rate: 0.5, seed: 1, stream: 0, samples: 2 }],
    wrong: [
      tensorArgument({ dtype: bytes }),
      optionArgument(
        {
          rate: numberArgument(-1, 1),
          seed: numberArgument(-1, 0.5),
          stream: numberArgument(-1, 0.5),
          samples: numberArgument(0, 3, -1, 0.5),
          offset: optionalTensor({ dtype: () => ones([]) }),
        },
        () => ({ rate: 0.5, seed: 1, stream: 0, samples: 2 }),
      ),
    ],
  },
  gradNorm: { good: () => [[x(), x()]], wrong: [listArgument()] },
  scaleInPlace: {
    good: () => [[x(), x()], 0.5],
    wrong: [
      listArgument(),
      tensorArgument({ shape: () => ones([2]) }).filter(({ what }) => what !== 'a number'),
    ],
  },
  allFinite: { good: () => [[x(), x()]], wrong: [listArgument()] },
};

test('every operation is in the table', () => {
  expect(Object.keys(table).sort()).toEqual(Object.keys(ops).sort());
});

test.each(Object.entries(table))('%s', async (name, { good, wrong }) => {
  const call = (ops as unknown as Record<string, Subject['call']>)[name]!;
  const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  expect(await faultsOf({ call, good, wrong }, new RegExp(`^(${name}|${snake}): .`))).toEqual([]);
});
