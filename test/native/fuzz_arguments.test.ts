import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { computeAddonFile, packageRoot } from '../../lib/native/load';
import { expectCodedRefusals } from '../support/fuzz_arguments';

jest.setTimeout(240_000);

test.each([
  ['compute', computeAddonFile(), 20_000],
  ['decode', join(packageRoot(), 'bindings/video/build/Release/video.node'), 8000],
])('whatever functions of the %s addon are given, they work or say what is wrong', (_, addon, calls) => {
  expectCodedRefusals(addon, calls);
});

/** Right but for one thing each, which the random calls hit too seldom. */
test('operands that differ in one thing, and sizes whose product runs over', () => {
  const program = `
const addon = require(process.argv[1]);
const zeros = (shape, dtype) => addon.full(shape, 0, dtype, 'cpu');
const f = (...shape) => zeros(shape, 'float32');
const half = (...shape) => zeros(shape, 'bfloat16');
const int = (...shape) => zeros(shape, 'int32');
const byte = (...shape) => zeros(shape, 'uint8');
const qkv = [f(1, 2, 4), f(1, 2, 4), f(1, 2, 4)];
const attend = (dout, out, sum) => () => addon.attentionBackward(dout, ...qkv, out, sum, 2, false);
const edit = (place, value) => () => {
  const numbers = [0, 4, 4, 4, 4, 0, 0, 4, 4, 0, 0, 0, 1, 1, 1, 0];
  numbers[place] = value;
  addon.pixels(byte(48), numbers, 4, 4, [0, 0, 0], [1, 1, 1], 'float32');
};
const update = (rows, rates, copies) => () => {
  const list = () => [f(3), f(3)];
  const steps = zeros([2], 'int64');
  addon.adamwStep(list(), list(), list(), list(), rows, steps, rates, 0.9, 0.999, 1e-8, null, copies);
};
const rates = zeros([2, 2], 'int64');
const calls = {
  ERR_SHAPE: {
    'attention of empty sequences': () => addon.attentionForward(f(1, 0, 4), f(1, 0, 4), f(1, 0, 4), 2, false),
    'attention, values': () => addon.attentionForward(qkv[0], qkv[1], half(1, 2, 4), 2, false),
    'attention, gradient': attend(half(1, 2, 4), f(1, 2, 4), f(1, 2, 2)),
    'attention, result': attend(f(1, 2, 4), half(1, 2, 4), f(1, 2, 2)),
    'attention, sum': attend(f(1, 2, 4), f(1, 2, 4), half(1, 2, 2)),
    'layer norm, row to append': () => addon.layerNormForward(f(2, 3, 4), half(2, 4), f(4), f(4), 1e-5),
    'layer norm, residual': () => addon.layerNormBackward(f(2, 4), f(2, 4), null, f(4), f(2), f(2), half(2, 4)),
    'layer norm, statistics': () => addon.layerNormBackward(f(8, 4), f(8, 4), null, f(4), byte(8), byte(8), null),
    'L2 norm, norms': () => addon.l2NormalizeBackward(f(2, 4), f(2, 4), f(3), 0),
    'softmax, gradient': () => addon.softmaxBackward(f(2, 4), half(2, 4), false),
    'unary, gradient': () => addon.unaryBackward('square', f(2), half(2)),
    'more bytes than elements': () => addon.tensorFromHost(new Uint8Array(8), [1], 'float32', 'cpu'),
    'data that its shape takes away': () => {
      const data = Float32Array.of(1);
      const take = () => structuredClone(data, { transfer: [data.buffer] }).length;
      addon.tensorFromHost(data, Object.defineProperty([1], 0, { get: take }), 'float32', 'cpu');
    },
    'argmax of nothing': () => addon.argmax(f(2, 0), 1),
    'slice, start': () => addon.sliceBackward(f(2, 1), [2, 4], 1, -1),
    'concat, dtype': () => addon.concatenate([f(2), half(2)], 0),
    'linear, residual': () => addon.linearForward(f(2, 3), f(4, 3), null, half(2, 4), 'none', false),
    'linear, x': () => addon.linearBackwardWeight(half(2, 4), f(2, 3), null, false, null),
    'linear, sum of weight': () => addon.linearBackwardWeight(f(2, 4), f(2, 3), half(4, 3), false, null),
    'linear, sum of bias': () => addon.linearBackwardWeight(f(2, 4), f(2, 3), null, true, half(4)),
    'linear, weight': () => addon.linearBackwardInput(f(2, 4), half(4, 3), null),
    'linear, slope': () => addon.linearBackwardInput(f(2, 4), f(4, 3), half(2, 3)),
    'patches of part of a channel': () => addon.patchEmbedImages(f(1, 4, 5), 4, 4, 2),
    'patches as large as can be': () => addon.patchEmbedImages(f(1, 0, 0), 0, 0, 2 ** 32),
    'samples that do not divide': () => addon.dropPath(f(3, 2), 0.5, 2, 1, 0, null),
    'gradient of rows in three dimensions': () => addon.gatherRowsBackward(f(2, 2, 4), int(2, 2), 3),
    'update, rates': update([0, 1], zeros([2], 'int64'), [null, null]),
    'update, copy': update([0, 1], rates, [half(3), half(4)]),
  },
  ERR_DTYPE: {
    'unary of bytes': () => addon.unaryBackward('square', byte(8), byte(8)),
    'softmax of bytes': () => addon.softmaxBackward(byte(8), byte(8), false),
    'L2 norm of bytes': () => addon.l2NormalizeBackward(byte(8, 4), byte(8, 4), f(8), 1e-12),
    'sum as bytes': () => addon.sumTo(f(8, 64), [64], 'uint8'),
    'sum of a table': () => addon.embeddingBackward(f(2, 4), int(2), 3, int(3, 4)),
  },
  ERR_ARGUMENT: {
    'more queries than rows': () => addon.selfAttentionForward(f(1, 2, 12), 2, 3, false),
    'negative smoothing': () => addon.crossEntropy(f(2, 4), int(2), -0.5, false),
    'negative stream': () => addon.randomUniform([2], 0, 1, 1, -1, 'cpu'),
    'a whole number beyond those that are exact': () => addon.argmax(f(2), 2 ** 60),
    'a number for a choice': () => addon.softmaxForward(f(2), 1),
    'part of a pixel': edit(1, 3.5),
    'crop below the picture': edit(6, 1),
    'operations of five': edit(11, 625),
    'infinite brightness': edit(12, 1 / 0),
    'hue of more than a turn': edit(15, 256),
    'hue of more than a turn back': edit(15, -256),
    'two updates of a row': update([1, 1], rates, [null, null]),
    'no recording': () => addon.beginRecording('cpu', 5),
  },
  ERR_OUT_OF_MEMORY: {
    'more dimensions than memory': () => addon.tensorFromHost(new Uint8Array(4), new Array(2 ** 32 - 1), 'float32', 'cpu'),
  },
};
const wrong = [];
for (const [wanted, group] of Object.entries(calls)) {
  for (const [name, call] of Object.entries(group)) {
    let code = 'none';
    try {
      call();
    } catch (error) {
      code = error.code;
    }
    if (code !== wanted) wrong.push([name, code]);
  }
}
edit(0, 0)();
update([0, 1], rates, [null, half(3)])();
addon.synchronize('cpu').then(() => process.stdout.write(JSON.stringify(wrong)));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', program, computeAddonFile()], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(JSON.parse(stdout)).toEqual([]);
});
