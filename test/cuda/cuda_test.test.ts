import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../lib/native/load';

// The tests in C++ of kernels, runtime and emulation; `node scripts/setup.mjs --tests` builds them. On a card they run
// by scripts/gpu-check.sh.
test('the CUDA tests in C++ pass on the emulated device', async () => {
  const { stdout } = await promisify(execFile)(join(packageRoot(), 'build/emulation/cuda_test'), {
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
