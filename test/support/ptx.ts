import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

/**
 * The folder of what the compiler for the device made of the kernels, or nothing where the build had no such compiler.
 *
 * @throws Error when it had one and left no PTX: tests that need it would be left out and nobody would notice
 */
export function ptxFolder(): string | undefined {
  if (!existsSync(join(packageRoot(), 'build/cuda/softmax.cu.o'))) return undefined;
  const folder = join(packageRoot(), 'build/ptx');
  if (existsSync(folder) && readdirSync(folder).includes('softmax.compute_90a.ptx')) return folder;
  throw new Error(
    `${folder} has no PTX of the kernels: build with CUDA_KEEP_PTX (node scripts/setup.mjs --tests)`,
  );
}
