import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// The jest project "cuda": tests compute on a CUDA device. On a real one where TEST_GPU=1 says so; else on the emulated
// one, the same kernels run by the CPU. Never on the CPU device instead.
const emulated = join(packageRoot(), 'build/emulation/Release/compute_emulated.node');

if (process.env.TEST_GPU !== '1') {
  process.env.NATIVE_COMPUTE_PATH ??= emulated;
  if (!existsSync(process.env.NATIVE_COMPUTE_PATH)) {
    throw new Error(
      `${process.env.NATIVE_COMPUTE_PATH} is missing: node scripts/setup.mjs --tests builds it`,
    );
  }
}
// Fresh memory is full of NaN, so that what a kernel forgets to write shows.
process.env.NATIVE_CUDA_POISON = '1';
