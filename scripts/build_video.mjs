// Builds the decode addon: bindings/video/build/Release/video.node. Works offline where Node's headers are installed
// beside node; elsewhere node-gyp fetches them.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installed } from './installed.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const prefix = dirname(dirname(process.execPath));
const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
const command = [
  'rebuild',
  '--directory',
  join(root, 'bindings/video'),
  '--jobs',
  '2',
  '--loglevel=warn',
  ...headers,
  ...(installed ? ['--', '-Dwarnings_as_errors=0'] : []),
];
const result = spawnSync(process.execPath, [gyp, ...command], { stdio: 'inherit' });
process.exit(result.status ?? 1);
