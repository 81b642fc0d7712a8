// Builds the decode addon: bindings/video/build/Release/video.node. Works offline where Node's headers are installed
// beside node; elsewhere node-gyp fetches them.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const libraries = ['libavformat', 'libavcodec', 'libswscale', 'libavutil'];
if (spawnSync('pkg-config', ['--exists', ...libraries]).status !== 0) {
  console.error(
    [
      'The video addon needs FFmpeg (5.1 or later), its headers and pkg-config:',
      '  Debian, Ubuntu: apt-get install pkg-config libavformat-dev libavcodec-dev libswscale-dev',
      '  Fedora:         dnf install pkgconf-pkg-config ffmpeg-free-devel',
      '  macOS:          brew install pkg-config ffmpeg',
    ].join('\n'),
  );
  process.exit(1);
}

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
];
const result = spawnSync(process.execPath, [gyp, ...command], { stdio: 'inherit' });
process.exit(result.status ?? 1);
