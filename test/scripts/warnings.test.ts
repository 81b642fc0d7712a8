import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// Both builds, with sources that hold a function nobody calls and little else, in a clone and as an installed package.
const planted = 'static int nobody_calls_this() { return 1; }\n';
let root: string;
jest.setTimeout(240_000);

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'warnings-'));
});
afterAll(() => rmSync(root, { recursive: true }));

function makeTree(folder: string): void {
  const from = packageRoot();
  for (const name of ['package.json', 'CMakeLists.txt', 'cuda/build.cmake', 'native/warnings.cmake']) {
    cpSync(join(from, name), join(folder, name));
  }
  for (const name of ['build_compute.mjs', 'build_video.mjs', 'installed.mjs']) {
    cpSync(join(from, 'scripts', name), join(folder, 'scripts', name));
  }
  cpSync(join(from, 'bindings/video/binding.gyp'), join(folder, 'bindings/video/binding.gyp'));
  for (const name of ['native/core', 'native/video', 'native/data']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  writeFileSync(join(folder, 'native/core/one.cc'), planted);
  writeFileSync(join(folder, 'bindings/one.cc'), '');
  for (const name of ['addon', 'convert', 'environment']) {
    writeFileSync(join(folder, `bindings/video/${name}.cc`), name === 'addon' ? planted : '');
  }
}

/** Links the packages of this project into `folder`, where those of the copied tree are looked for. */
function linkPackages(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const modules = dirname(dirname(realpathSync(require.resolve('cmake-js/package.json'))));
  for (const name of readdirSync(modules)) {
    if (!name.startsWith('.')) symlinkSync(join(modules, name), join(folder, name));
  }
}

function build(tree: string, script: string, ...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(tree, 'scripts', script), ...args], {
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

test.each([
  ['a clone', 'clone', 'clone/node_modules', 1, /\[-Werror=unused-function\]/],
  ['an installed package', 'app/node_modules/it', 'app/node_modules', 0, /warning: .*\[-Wunused-function\]/],
])('a warning in %s', (_, name, modules, status, message) => {
  const tree = join(root, name);
  makeTree(tree);
  linkPackages(join(root, modules));
  for (const result of [
    build(tree, 'build_compute.mjs', '--CDWITH_CUDA=OFF'),
    build(tree, 'build_video.mjs'),
  ]) {
    expect(result.output).toMatch(message);
    expect(result.status).toBe(status);
  }
});
