import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../lib/native/load';
import { ptxFolder } from '../support/ptx';

// The tests in C++ of kernels, runtime and emulation; `node scripts/setup.mjs --tests` builds them. On a card they run
// by scripts/gpu-check.sh.
const program = join(packageRoot(), 'build/emulation/cuda_test');

test('grids are kept apart where that is asked for', async () => {
  const { stdout } = await promisify(execFile)(program, ['-tc=grids may overlap*'], {
    env: { ...process.env, NATIVE_CUDA_OVERLAP: '0' },
  });
  expect(stdout).toContain('test cases: 1 | 1 passed');
});

test('any device of several can be the one in use', async () => {
  const { stdout } = await promisify(execFile)(program, ['-tc=work goes to its device*,*recorded*'], {
    env: { ...process.env, EMULATION_DEVICES: '2', CUDA_TEST_DEVICE: '1' },
  });
  expect(stdout).not.toContain('not tested');
  expect(stdout).toMatch(/test cases: \s*[4-9] \|\s*[4-9] passed/);
});

test('blocks wait for none that has not begun where processes share the device', async () => {
  const { stdout } = await promisify(execFile)(program, ['-tc=gemm_sm90: slabs*,gemm_sm90: sums*,gemm: *'], {
    env: { ...process.env, EMULATION_MPS: '1' },
  });
  expect(stdout).toMatch(/test cases: \s*[4-9]\d* \|\s*[4-9]\d* passed \| 0 failed/);
});

test('kernels are planned for fewer multiprocessors where that is asked for', async () => {
  const { stdout } = await promisify(execFile)(program, ['-tc=kernels are planned for*'], {
    env: { ...process.env, NATIVE_CUDA_MULTIPROCESSORS: '2' },
  });
  expect(stdout).toContain('test cases: 1 | 1 passed');
});

test('memory is exact where that is asked for', async () => {
  const cases = '-tc=an access past*,what the host fills*,*recorded*,tables and scratch*';
  const { stdout } = await promisify(execFile)(program, [cases], {
    env: { ...process.env, NATIVE_CUDA_EXACT: '1' },
  });
  expect(stdout).toMatch(/test cases: \s*(\d+) \|\s*\1 passed/);
});

test('a driver from before CUDA 12.3 records grids that do not overlap', async () => {
  const { stdout } = await promisify(execFile)(program, ['-tc=*recorded work*'], {
    env: { ...process.env, EMULATION_DRIVER: '12020' },
  });
  expect(stdout).toMatch(/test cases: \s*[3-9] \|\s*[3-9] passed/);
});

test.each(['80', '86', '89'])('an emulated device of capability %s has its limits', async (capability) => {
  const { stdout } = await promisify(execFile)(program, ['-tc=emulation: a device holds*'], {
    env: { ...process.env, EMULATION_CAPABILITY: capability },
  });
  expect(stdout).toContain('test cases: 1 | 1 passed');
});

// Of the capabilities, 8.6 has the least shared memory. What counts how many barriers are needed is left out: the wait for
// the grid in front is needed on sm_90 alone. Kernels are what the compiler made for all of generation 8, where there is one
// (ptx.test.ts has those of 9.0).
test('on a small device the kernels find the room that they ask for', async () => {
  const files = ['attention', 'gather', 'gemm_test', 'gemm_tf32', 'layer_norm', 'pixels', 'reduce'];
  const { stdout } = await promisify(execFile)(
    program,
    [`-sf=${files.map((file) => `*${file}*`)}`, '-tce=*is found out,*is needed,*bank*'],
    {
      env: { ...process.env, EMULATION_CAPABILITY: '86', EMULATION_PTX: ptxFolder() },
      maxBuffer: 1 << 26,
      timeout: 300_000,
    },
  ).catch((error) => {
    throw new Error(`${error.message}\n${String(error.stdout).slice(-8000)}`);
  });
  const [, cases, passed] = /test cases:\s*(\d+) \|\s*(\d+) passed/.exec(stdout) ?? [];
  expect(Number(cases)).toBeGreaterThan(40);
  expect(passed).toBe(cases);
}, 300_000);

test('the CUDA tests in C++ pass on the emulated device', async () => {
  const { stdout } = await promisify(execFile)(program, {
    maxBuffer: 1 << 26,
    timeout: 900_000,
  }).catch((error) => {
    throw new Error(`${error.message}\n${String(error.stdout).slice(-8000)}`);
  });
  const [, cases, passed] = /test cases:\s*(\d+) \|\s*(\d+) passed/.exec(stdout) ?? [];
  console.info(`${passed} of ${cases} test cases of cuda_test passed`);
  expect(Number(cases)).toBeGreaterThan(50);
  expect(passed).toBe(cases);
}, 900_000);
