// Packs what scripts/gpu-check.sh needs on a machine that has a card and nvcc but no Node, no oneDNN and no registry:
//   node scripts/pack_gpu_check.mjs KIT.tar.xz
// (or KIT.tar.gz, which is larger, for a machine without xz).
// Node itself, the npm packages that the tests need, the compiled TypeScript, the compute addon as built here (with
// CUDA), the libraries it links, and doctest's header. Run it after `npm test` on a machine with nvcc. It says how large
// the kit is beside the tracked files, with which it travels.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [target] = process.argv.slice(2);
if (!/\.tar\.[xg]z$/.test(target ?? '')) {
  console.error('usage: node scripts/pack_gpu_check.mjs KIT.tar.xz');
  process.exit(2);
}
const fail = (message) => {
  console.error(`pack_gpu_check: ${message}`);
  process.exit(1);
};

// Builders, formatters and writers of documentation are of no use there, and large.
const unusedPackages =
  /^(@biomejs|@shikijs|shiki|typedoc|cmake-js|node-gyp|node-api-headers|caniuse-lite|handlebars|markdown-it|\.cache)$/;
// Nor is what people and editors read, nor the compiler's servers and its messages in other languages.
const unusedFiles = /\.(map|md|d\.[mc]?ts)$|\/typescript\/lib\/(_t|tsserver|[a-z]{2}$|[a-z]{2}-[a-z]+$)/;
const isUsed = (path) =>
  !unusedFiles.test(path) &&
  !(basename(dirname(path)) === 'node_modules' && unusedPackages.test(basename(path)));
const addon = join(root, 'build/Release/compute.node');
const header = '/usr/include/doctest/doctest.h';
if (!existsSync(addon) || !existsSync(join(root, 'dist/index.js'))) fail('run npm run build first');
if (!existsSync(header)) fail(`${header} is missing, cuda_test needs it: install doctest`);
const folder = mkdtempSync(join(tmpdir(), 'gpu-check-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const into = (...parts) => {
  const path = join(folder, ...parts);
  mkdirSync(dirname(path), { recursive: true });
  return path;
};

cpSync(addon, into('compute.node'));
cpSync(join(root, 'dist'), into('dist'), { recursive: true, filter: isUsed });
cpSync(process.execPath, into('bin/node'));
execFileSync('strip', [into('bin/node')]);
cpSync(join(root, 'node_modules'), into('node_modules'), {
  recursive: true,
  verbatimSymlinks: true,
  filter: isUsed,
});
cpSync(header, into('include/doctest/doctest.h'));

// Of the libraries, those that a bare system does not have anyway.
const standard = /^(linux-vdso|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux)/;
for (const line of execFileSync('ldd', [addon], { encoding: 'utf8' }).split('\n')) {
  const [, name, path] = /^\s*(\S+) => (\/\S+)/.exec(line) ?? [];
  if (name && !standard.test(name)) cpSync(path, into('lib', name), { dereference: true });
}

execFileSync('tar', ['-caf', resolve(target), '-C', folder, '.'], {
  env: { ...process.env, XZ_OPT: '--x86 --lzma2=preset=9e,dict=128MiB' },
});

const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((path) => path && existsSync(join(root, path)))
  .reduce((sum, path) => sum + lstatSync(join(root, path)).size, 0);
const kit = statSync(target).size;
console.log(
  `tracked files ${mebibytes(tracked)}, ${target} ${mebibytes(kit)}, together ${mebibytes(tracked + kit)}`,
);
