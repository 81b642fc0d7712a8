// Makes a fresh clone ready: system packages, npm packages, the two native addons, the compiled TypeScript. Each step
// is skipped when it is up to date. Needs nothing but Node.
//
//   node scripts/setup.mjs            everything
//   node scripts/setup.mjs --native   the addons only (system packages are checked, never installed)
//   node scripts/setup.mjs --tests    everything, and the CUDA backend for the emulated device
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const nativeOnly = process.argv.includes('--native');
const forTests = process.argv.includes('--tests');

const systems = JSON.parse(readFileSync(join(root, 'scripts/system_packages.json'), 'utf8'));
const wanted = ({ packages, tests }) => [...packages, ...(forTests ? tests : [])];
const debian = wanted(systems['Debian/Ubuntu']);
const gloo = 'gloo/context.h';
const remedies = Object.entries(systems)
  .map(([name, system]) => `  ${`${name}:`.padEnd(15)}${system.install} ${wanted(system).join(' ')}`)
  .join('\n');

function quiet(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: 'ignore' }).status === 0;
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) {
    console.error(`setup: "${command} ${args.join(' ')}" failed${error ? `: ${error.message}` : ''}`);
    process.exit(1);
  }
}

// What the native build needs that is not there.
function missingTools() {
  const missing = ['g++', 'cmake', 'make', 'pkg-config', 'python3'].filter(
    (tool) => !quiet(tool, ['--version']),
  );
  if (missing.length > 0) return missing;
  for (const library of ['libavformat', 'libavcodec', 'libswscale']) {
    if (!quiet('pkg-config', ['--exists', library])) missing.push(library);
  }
  const probe = ['-x', 'c++', '-fsyntax-only', '-include', 'dnnl.hpp', '/dev/null'];
  if (!quiet('g++', probe) && !quiet('g++', ['-I/opt/homebrew/include', ...probe])) missing.push('oneDNN');
  if (forTests) {
    const headers = ['boost/context/detail/fcontext.hpp', 'doctest/doctest.h', gloo];
    missing.push(...headers.filter((header) => !hasHeader(header)));
    if (!quiet('ffmpeg', ['-version'])) missing.push('ffmpeg'); // the program, which frames are compared with
  }
  return missing;
}

function hasHeader(header) {
  return quiet('g++', ['-x', 'c++', '-fsyntax-only', '-include', header, '/dev/null']);
}

function installSystemPackages() {
  const missing = missingTools();
  // The build does without Gloo, so it is installed where that is allowed and missed silently where it is not.
  if (missing.length === 0 && (nativeOnly || hasHeader(gloo))) return;
  const administrator = process.getuid?.() === 0 ? [] : quiet('sudo', ['-n', 'true']) ? ['sudo', '-n'] : null;
  if (!nativeOnly && administrator && quiet('apt-get', ['--version'])) {
    console.log(`setup: installing ${debian.join(' ')}`);
    const apt = [...administrator, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
    const steps = [
      ['update', '-qq'],
      ['install', '-y', '-qq', '--no-install-recommends', ...debian],
    ];
    // apt-get says a line or more of each of 150 packages: that is shown only where it tells of a failure.
    const outputs = steps.map((step) => {
      const { status, stdout, stderr } = spawnSync(apt[0], [...apt.slice(1), ...step], { encoding: 'utf8' });
      return status === 0 ? '' : `${stdout ?? ''}\n${stderr ?? ''}`;
    });
    if (missingTools().length === 0) return;
    reportFailure(outputs.at(-1) || outputs[0]);
  }
  if (missing.length === 0) return;
  console.error(`setup: missing ${missing.join(', ')}. Install what the native build needs:\n${remedies}`);
  process.exit(1);
}

// The first errors in what apt-get printed; without a network there is one for each package.
function reportFailure(output) {
  const errors = output.split('\n').filter((line) => line.startsWith('E: '));
  if (errors.length === 0) return;
  console.error(`setup: apt-get could not install them:\n${errors.slice(0, 3).join('\n')}`);
  if (errors.length > 3) console.error(`(and ${errors.length - 3} errors more; is there a network?)`);
}

// The latest change below a path, without what is built or installed there.
function newest(path) {
  if (!existsSync(path) || /^(node_modules|build)$/.test(basename(path))) return 0;
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function stale(output, inputs) {
  const file = join(root, output);
  return (
    !existsSync(file) ||
    Math.max(...inputs.map((input) => newest(join(root, input)))) > statSync(file).mtimeMs
  );
}

// Builds `outputs` and dates them to when that began: a build that finds nothing to do leaves a file older than what was
// looked at, and a source saved meanwhile has to count as newer.
function build(outputs, script, ...args) {
  const began = new Date();
  run(process.execPath, [join(root, 'scripts', script), ...args]);
  for (const output of outputs) utimesSync(join(root, output), began, began);
}

const compute = 'build/Release/compute.node';
const video = 'bindings/video/build/Release/video.node';

const buildCompute = stale(compute, ['native', 'bindings', 'cuda', 'CMakeLists.txt', 'package.json']);
const buildVideo = stale(video, ['native/core', 'native/video', 'native/data', 'bindings/video']);
// What the tests run the CUDA kernels on the host with. One build makes these and the addon, whose objects they share.
const programs = ['Release/compute_emulated.node', 'cuda_test', 'cuda_bench'].map(
  (name) => `build/emulation/${name}`,
);
const kernels = ['native', 'cuda', 'bindings', 'test/emulation', 'test/cuda', 'bench/cuda', 'CMakeLists.txt'];
const buildPrograms = forTests && programs.some((program) => stale(program, kernels));
if (buildCompute || buildVideo || buildPrograms) installSystemPackages();
if (!nativeOnly && stale('node_modules/.package-lock.json', ['package-lock.json'])) {
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
}
if (buildPrograms) {
  build([compute, ...programs], 'build_compute.mjs', '--CDCUDA_EMULATION=ON', '--target', 'for_tests');
} else if (buildCompute) {
  build([compute], 'build_compute.mjs');
}
if (buildVideo) build([video], 'build_video.mjs');
if (!nativeOnly && stale('dist/index.js', ['lib', 'tsconfig.json'])) {
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json']);
}
