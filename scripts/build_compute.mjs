// Builds the compute addon with cmake-js (headers come from the node-api-headers package, nothing is downloaded).
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installed } from './installed.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cmakeJsFile = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const parallel = ['--parallel', String(availableParallelism())];
const purpose = installed ? ['--CDWARNINGS_AS_ERRORS=OFF'] : ['--CDCUDA_KEEP_PTX=ON'];

function cmakeJs(command) {
  const words = [command, '--log-level', 'warn', ...parallel, ...purpose, ...process.argv.slice(2)];
  return spawnSync(process.execPath, [cmakeJsFile, ...words], { cwd: root, stdio: 'inherit' }).status === 0;
}

// Configured each time, so that options reach a folder that was configured without them: its "compile" would build
// everything anew instead, and so it does when a source has an error. A folder that was moved here starts afresh.
const configured = cmakeJs('configure') || cmakeJs('reconfigure');
if (!configured || !cmakeJs('build')) process.exit(1);
// A kernel that spills fails the build here, but no installation: there another compiler's opinion only costs time.
if (!installed && existsSync(join(root, 'build/cuda'))) {
  const check = join(root, 'scripts/check_resources.mjs');
  if (spawnSync(process.execPath, [check, '--brief'], { stdio: 'inherit' }).status !== 0) {
    rmSync(join(root, 'build/Release/compute.node'), { force: true }); // else the next call would find nothing to do
    process.exit(1);
  }
}
