// Runs after "npm install xclip-native". Where a package with prebuilt addons came along, which work here, there is nothing to
// do. Elsewhere it builds the two addons from source when the tools are there. When they are not, the install still succeeds;
// loading an addon then says how to build it. (npm shows what this prints only when it is asked to, and may be told to
// run no such script at all.)
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const command = join(root, 'dist/cli/main.js');
const works =
  existsSync(command) && spawnSync(process.execPath, [command, 'doctor'], { stdio: 'ignore' }).status === 0;
if (!works) {
  const setup = join(root, 'scripts/setup.mjs');
  const { status } = spawnSync(process.execPath, [setup, '--native'], { stdio: 'inherit' });
  if (status !== 0) console.error('xclip-native: not built. Once that is settled: npx xclip-native build');
}
