import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

/** The folder of what the compiler for the device made of the kernels; without nvcc the build has none. */
export function ptxFolder(): string | undefined {
  const folder = join(packageRoot(), 'build/ptx');
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.ptx')) ? folder : undefined;
}
