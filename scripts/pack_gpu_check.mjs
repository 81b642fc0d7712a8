// Packs what scripts/gpu-check.sh needs on a machine that has a card and nvcc but no Node, no oneDNN and no registry:
//   node scripts/pack_gpu_check.mjs KIT.tar.xz
// (or KIT.tar.gz, which is larger, for a machine without xz).
// Node itself, the npm packages that the tests need, the compiled TypeScript, the compute addon as built here (with
// CUDA), the libraries it links, and doctest's header. Run it after `npm test` on a machine with nvcc.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
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
const unused = /^(@biomejs|@shikijs|shiki|typedoc|cmake-js|node-gyp|node-api-headers|\.cache)$/;
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
cpSync(join(root, 'dist'), into('dist'), { recursive: true });
cpSync(process.execPath, into('bin/node'));
execFileSync('strip', [into('bin/node')]);
cpSync(join(root, 'node_modules'), into('node_modules'), {
  recursive: true,
  verbatimSymlinks: true,
  filter: (path) => dirname(path) !== join(root, 'node_modules') || !unused.test(basename(path)),
});
cpSync(header, into('include/doctest/doctest.h'));

// Of the libraries, those that a bare system does not have anyway.
const standard = /^(linux-vdso|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux)/;
for (const line of execFileSync('ldd', [addon], { encoding: 'utf8' }).split('\n')) {
  const [, name, path] = /^\s*(\S+) => (\/\S+)/.exec(line) ?? [];
  if (name && !standard.test(name)) cpSync(path, into('lib', name), { dereference: true });
}

execFileSync('tar', ['-caf', resolve(target), '-C', folder, '.'], {
  env: { ...process.env, XZ_OPT: '-6 -T0' },
});
console.log(`${target}: ${Math.round(statSync(target).size / 2 ** 20)} MB`);
