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
test('gradients of another dtype than kernels read, and sizes whose product runs over', () => {
  const program = `
const addon = require(process.argv[1]);
const zeros = (shape, dtype) => addon.full(shape, 0, dtype, 'cpu');
const bytes = zeros([8, 64], 'uint8'), floats = zeros([8, 64], 'float32'), row = zeros([64], 'float32');
const calls = {
  unaryBackward: () => addon.unaryBackward('square', bytes, bytes),
  softmaxBackward: () => addon.softmaxBackward(bytes, bytes, false),
  l2NormalizeBackward: () => addon.l2NormalizeBackward(bytes, bytes, zeros([8], 'float32'), 1e-12),
  layerNormBackward: () =>
    addon.layerNormBackward(floats, floats, null, row, zeros([8], 'uint8'), zeros([8], 'uint8'), null),
  sumTo: () => addon.sumTo(floats, [64], 'uint8'),
  patchEmbedImages: () => addon.patchEmbedImages(zeros([1, 0, 0], 'float32'), 0, 0, 2 ** 32),
  tensorFromHost: () => addon.tensorFromHost(new Uint8Array(4), new Array(2 ** 32 - 1), 'float32', 'cpu'),
  beginRecording: () => addon.beginRecording('cpu', 5),
};
const codes = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    call();
    codes[name] = 'none';
  } catch ({ code }) {
    codes[name] = code;
  }
}
addon.synchronize('cpu').then(() => process.stdout.write(JSON.stringify(codes)));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', program, computeAddonFile()], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(JSON.parse(stdout)).toEqual({
    unaryBackward: 'ERR_DTYPE',
    softmaxBackward: 'ERR_DTYPE',
    l2NormalizeBackward: 'ERR_DTYPE',
    layerNormBackward: 'ERR_SHAPE',
    sumTo: 'ERR_DTYPE',
    patchEmbedImages: 'ERR_SHAPE',
    tensorFromHost: 'ERR_OUT_OF_MEMORY',
    beginRecording: 'ERR_ARGUMENT',
  });
});
