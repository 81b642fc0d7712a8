import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import {
  defaultDevice,
  emptyCache,
  memory,
  resolveDevice,
  setDefaultDevice,
  setProfiling,
  synchronize,
  takeProfile,
} from '../../lib/native/device';
import { computeAddonFile, native } from '../../lib/native/load';
import { add, matmul, zeros } from '../../lib/ops';
import { tensor } from '../../lib/tensor/tensor';

const usable = () => native().deviceAvailable('cuda');

afterEach(() => {
  jest.restoreAllMocks();
  setDefaultDevice('auto');
});

test('tensors are made on the default device', () => {
  expect(zeros([2]).device).toBe(defaultDevice());
  setDefaultDevice('cpu');
  expect(defaultDevice()).toBe('cpu');
  expect([zeros([2]).device, tensor([1]).device]).toEqual(['cpu', 'cpu']);
});

test('the environment says what auto is', () => {
  const before = process.env.NATIVE_DEVICE;
  process.env.NATIVE_DEVICE = 'cpu';
  expect(resolveDevice('auto')).toBe('cpu');
  process.env.NATIVE_DEVICE = 'tpu';
  expect(() => resolveDevice('auto')).toThrow(expect.objectContaining({ code: 'ERR_DEVICE' }));
  if (before === undefined) delete process.env.NATIVE_DEVICE;
  else process.env.NATIVE_DEVICE = before;
});

test.each(['gpu', 'cuda:', 'cuda:x', 'cpu:0', 'auto:1', ''])('%p is no device', (name) => {
  expect(() => resolveDevice(name as 'cpu')).toThrow(/unknown device/);
});

test('a device that cannot be used says why; auto is then the CPU, and warns once where the build has CUDA', () => {
  const before = process.env.NATIVE_DEVICE;
  delete process.env.NATIVE_DEVICE;
  const report = { built: false, unavailable: 'this build has no cuda backend', facts: {} };
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const asked = jest.spyOn(native(), 'deviceReport').mockReturnValue(report);
  expect(resolveDevice('auto')).toBe('cpu');
  expect(warn).not.toHaveBeenCalled();
  expect(() => resolveDevice('cuda')).toThrow(
    /^device 'cuda' cannot be used: this build has no cuda backend \(builds made where nvcc is found have one/,
  );
  asked.mockReturnValue({ built: true, unavailable: 'no NVIDIA driver was found', facts: {} });
  expect([resolveDevice('auto'), resolveDevice('auto')]).toEqual(['cpu', 'cpu']);
  expect(warn.mock.calls).toEqual([
    ['computing on the CPU: no NVIDIA driver was found', { code: 'DEVICE_FALLBACK' }],
  ]);
  expect(() => setDefaultDevice('cuda')).toThrow(
    expect.objectContaining({
      code: 'ERR_DEVICE',
      message: "device 'cuda' cannot be used: no NVIDIA driver was found",
    }),
  );
  if (before !== undefined) process.env.NATIVE_DEVICE = before;
});

test('a card that is not there is refused by its number', () => {
  if (!usable()) {
    expect(() => resolveDevice('cuda:0')).toThrow(/device 'cuda:0' cannot be used: .+/);
    return;
  }
  expect(resolveDevice('cuda:0')).toBe('cuda');
  zeros([1], { device: 'cuda' }).dispose();
  expect(() => resolveDevice('cuda:1')).toThrow(/cuda:0 is in use by this process/);
});

test('memory is counted where tensors live, and given back', async () => {
  await synchronize();
  const before = memory();
  const x = zeros([1000, 1000]);
  expect(memory().liveTensors).toBe(before.liveTensors + 1);
  expect(memory().liveBytes).toBeGreaterThanOrEqual(before.liveBytes + 4e6);
  x.dispose();
  expect(memory().liveBytes).toBe(before.liveBytes);
  await synchronize();
  emptyCache();
  expect(memory().reservedBytes).toBeLessThanOrEqual(before.reservedBytes);
});

test('an emptied cache keeps what queued work still reads', async () => {
  setDefaultDevice('cpu');
  const big = zeros([700, 700]);
  const parts = Array.from({ length: 20 }, (_, i) => tensor(new Float32Array(1000).fill(i + 1)));
  await synchronize();
  const products = Array.from({ length: 20 }, () => matmul(big, big)); // long enough for what follows
  const sums = parts.map((part) => add(part, part));
  for (const part of parts) part.dispose();
  emptyCache();
  for (const [i, total] of sums.entries()) {
    expect(new Set((await total.toArray()) as number[])).toEqual(new Set([2 * (i + 1)]));
  }
  for (const x of [big, ...products, ...sums]) x.dispose();
});

// Threads of a device go on when the environment that opened it ends.
(process.platform === 'linux' ? test : test.skip)(
  'the addon stays in its place when the workers that loaded it have ended',
  () => {
    const file = realpathSync(process.env.NATIVE_COMPUTE_PATH ?? computeAddonFile());
    const worker = `const { workerData } = require('node:worker_threads');
      const addon = require(workerData.file);
      addon.read(addon.tensorFromHost(Float32Array.of(1), [1], 'float32', workerData.device));`;
    const script = `const { Worker } = require('node:worker_threads');
      const workerData = ${JSON.stringify({ file, device: defaultDevice() })};
      (async () => {
        for (let i = 0; i < 2; i++) {
          const worker = new Worker(${JSON.stringify(worker)}, { eval: true, workerData });
          await new Promise((resolve) => worker.once('exit', resolve));
          const mapped = require('node:fs').readFileSync('/proc/self/maps', 'utf8').split('\\n');
          console.log(mapped.find((line) => line.endsWith(workerData.file)));
        }
      })();`;
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    expect(stderr).toBe('');
    const [first, second] = stdout.split('\n');
    expect(first).toContain(file);
    expect(second).toBe(first);
  },
);

test('an environment ends once what was queued before has run, whatever others go on queueing', async () => {
  setDefaultDevice('cpu');
  const big = zeros([700, 700]);
  const file = realpathSync(process.env.NATIVE_COMPUTE_PATH ?? computeAddonFile());
  const script = `const { parentPort, workerData } = require('node:worker_threads');
    require(workerData).full([1], 0, 'float32', 'cpu');
    parentPort.postMessage('done');`;
  const worker = new Worker(script, { eval: true, workerData: file });
  let [done, ended, rounds] = [false, false, 0];
  worker.once('message', () => {
    done = true;
  });
  worker.once('exit', () => {
    ended = true;
  });
  const queue = () => {
    const x = matmul(big, big);
    const read = x.data();
    x.dispose();
    return read;
  };
  const ahead = Array.from({ length: 32 }, queue); // a fifth of a second of work: the queue is never idle
  for (; !ended && rounds < 300; rounds += done ? 1 : 0) {
    ahead.push(queue());
    await ahead.shift();
  }
  expect(rounds).toBeLessThan(300);
  await Promise.all(ahead);
  big.dispose();
});

test('operations are timed by name', async () => {
  const [a, b] = [zeros([64]), zeros([64])];
  await synchronize();
  takeProfile();
  setProfiling(true);
  const sum = add(a, b);
  await sum.data();
  setProfiling(false);
  expect(takeProfile()).toContainEqual({ op: 'binary', calls: 1, seconds: expect.any(Number) });
  for (const x of [a, b, sum]) x.dispose();
});

test('the operations that took longest come first', () => {
  const rows: [string, number, number][] = [
    ['add', 1, 0.1],
    ['linear', 2, 0.3],
    ['softmax', 3, 0.2],
  ];
  jest.spyOn(native(), 'takeProfile').mockReturnValue(rows);
  expect(takeProfile().map(({ op }) => op)).toEqual(['linear', 'softmax', 'add']);
});

test('a copy on another device has the same values', async () => {
  const x = tensor([1.5, -2, 3], [3], { device: 'cpu' });
  const moved = await x.to('auto');
  expect([moved.device, await moved.toArray()]).toEqual([defaultDevice(), [1.5, -2, 3]]);
  const back = await moved.to('cpu');
  expect(await back.toArray()).toEqual([1.5, -2, 3]);
  const half = tensor([1.5], [1], { dtype: 'float16' });
  const copy = await half.to('cpu');
  expect([copy.dtype, await copy.toArray()]).toEqual(['float16', [1.5]]);
  for (const tensors of [x, moved, back, half, copy]) tensors.dispose();
});
