import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// scripts/setup.mjs on a machine that has nothing: no compiler on the PATH, and an apt-get that fails as the real one
// does without a network.
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'setup-'));
  mkdirSync(join(root, 'scripts'));
  mkdirSync(join(root, 'bin'));
  for (const name of ['setup.mjs', 'system_packages.json']) {
    copyFileSync(join(packageRoot(), 'scripts', name), join(root, 'scripts', name));
  }
});
afterEach(() => rmSync(root, { recursive: true }));

function program(name: string, script: string): void {
  writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(root, 'bin', name), 0o755);
}

function setUp(): { status: number | null; lines: string[] } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts/setup.mjs')], {
    env: { PATH: join(root, 'bin') },
    encoding: 'utf8',
  });
  return { status, lines: (stdout + stderr).trimEnd().split('\n') };
}

const remedies = [
  expect.stringMatching(/^setup: missing g\+\+, cmake, make, pkg-config, python3\. Install /),
  expect.stringMatching(/^ {2}Debian\/Ubuntu: apt-get install -y g\+\+ .*libdnnl-dev libavformat-dev/),
  expect.stringMatching(/^ {2}Fedora: {8}dnf install -y gcc-c\+\+ .*onednn-devel/),
  expect.stringMatching(/^ {2}macOS: {9}brew install cmake .*onednn/),
];

test('who may not install is told what to install', () => {
  expect(setUp()).toEqual({ status: 1, lines: remedies });
});

test('an apt-get without a network is reported in a few lines', () => {
  symlinkSync('/usr/bin/env', join(root, 'bin/env'));
  program('sudo', 'shift; exec "$@"');
  program(
    'apt-get',
    `case "$1" in
--version | update) exit 0 ;;
*) i=0; while [ $i -lt 150 ]; do i=$((i + 1)); echo "E: Failed to fetch package $i" >&2; done; exit 100 ;;
esac`,
  );
  program('true', 'exit 0');
  const fetched = [1, 2, 3].map((i) => `E: Failed to fetch package ${i}`);
  expect(setUp()).toEqual({
    status: 1,
    lines: [
      expect.stringMatching(/^setup: installing g\+\+ cmake/),
      'setup: apt-get could not install them:',
      ...fetched,
      '(and 147 errors more; is there a network?)',
      ...remedies,
    ],
  });
});

test('an installed copy whose sources are newer than what was built of them is built again', () => {
  const copy = join(root, 'node_modules/xclip-native');
  const put = (path: string, changed: number) => {
    mkdirSync(join(copy, path, '..'), { recursive: true });
    writeFileSync(join(copy, path), '');
    utimesSync(join(copy, path), changed, changed);
  };
  for (const built of ['build/Release/compute.node', 'bindings/video/build/Release/video.node'])
    put(built, 2000);
  for (const source of ['native/core/tensor.cc', 'CMakeLists.txt', 'package.json']) put(source, 1000);
  mkdirSync(join(copy, 'scripts'));
  for (const name of ['setup.mjs', 'system_packages.json']) {
    copyFileSync(join(packageRoot(), 'scripts', name), join(copy, 'scripts', name));
  }
  const setUpCopy = () =>
    spawnSync(process.execPath, [join(copy, 'scripts/setup.mjs'), '--native'], {
      env: { PATH: join(root, 'bin') },
      encoding: 'utf8',
    });
  expect(setUpCopy()).toMatchObject({ status: 0, stderr: '' });
  put('native/core/tensor.cc', 3000);
  expect(setUpCopy()).toMatchObject({ status: 1, stderr: expect.stringMatching(/^setup: missing g\+\+/) });
});
