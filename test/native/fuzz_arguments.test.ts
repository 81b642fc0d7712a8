import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { computeAddonFile, packageRoot } from '../../lib/native/load';
import { fixturePath } from '../support/fixture';

// A process of its own for each addon: a crash or a hang shows, and the file names the call.
const folder = mkdtempSync(join(tmpdir(), 'fuzz-arguments-'));
afterAll(() => rmSync(folder, { recursive: true }));
jest.setTimeout(240_000);

interface Findings {
  calls: number;
  worked: number;
  refused: number;
  codes: Record<string, number>;
  /** Calls that failed with anything but a coded error. */
  faults: string[];
  /** Exported functions that the program does not know. */
  missing: string[];
  rssMB: number;
}

function fuzz(addon: string, seed: number, calls: number): Findings {
  const last = join(folder, 'last');
  const program = join(__dirname, 'fuzz_arguments.cjs');
  const words = [program, addon, fixturePath('video/h264_b_frames.mp4'), String(seed), String(calls), last];
  const run = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 120_000 });
  const ending = { status: run.status, signal: run.signal, stderr: run.stderr };
  const call = run.status === 0 ? '' : readFileSync(last, 'utf8').trim();
  expect({ ...ending, call }).toEqual({ status: 0, signal: null, stderr: '', call: '' });
  return JSON.parse(run.stdout) as Findings;
}

test.each([
  ['compute', computeAddonFile(), 20_000],
  ['decode', join(packageRoot(), 'bindings/video/build/Release/video.node'), 8000],
])('whatever functions of the %s addon are given, they work or say what is wrong', (_, addon, calls) => {
  for (const seed of [1, 2, 3]) {
    const { faults, missing, worked, refused, codes, rssMB } = fuzz(addon, seed, calls);
    expect({ faults, missing }).toEqual({ faults: [], missing: [] });
    expect(rssMB).toBeLessThan(1000);
    // That most calls are refused at their first argument would say little.
    expect(worked).toBeGreaterThan(calls / 6);
    expect(refused).toBeGreaterThan(calls / 6);
    expect(Object.keys(codes).length).toBeGreaterThan(4);
  }
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
