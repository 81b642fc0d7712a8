// Builds the compute addon with cmake-js (headers come from the node-api-headers package, nothing is downloaded).
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installed } from './installed.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const parallel = ['--parallel', String(availableParallelism())];
const warnings = installed ? ['--CDWARNINGS_AS_ERRORS=OFF'] : [];
const run = spawnSync(
  process.execPath,
  [cmakeJs, 'compile', '--log-level', 'warn', ...parallel, ...warnings, ...process.argv.slice(2)],
  { cwd: root, stdio: 'inherit' },
);
process.exit(run.status ?? 1);
