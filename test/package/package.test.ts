import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { fixturePath } from '../support/fixture';
import { filesBelow, type PackedProject, packInto, root, withAddons } from '../support/packed';

let project: PackedProject;
let files: string[];
beforeAll(() => {
  project = packInto('package-');
  files = filesBelow(project.installed);
  console.info(`tarball: ${Math.round(project.size / 1024)} KiB, ${files.length} files`);
});
afterAll(() => project?.remove());

/** A process that stays when its work is done is a failure. */
const ending = { encoding: 'utf8', timeout: 50_000, killSignal: 'SIGKILL' } as const;

/** Runs a program of the user's in the project and returns what it prints, as JSON. */
function runProgram(name: string, source: string): unknown {
  const file = join(project.folder, name);
  writeFileSync(file, source);
  const env = { ...process.env, ...withAddons };
  return JSON.parse(execFileSync(process.execPath, [file], { cwd: project.folder, env, ...ending }));
}

/** Runs the package's command through the link that npm makes. */
function runBin(...words: string[]): string {
  const bin = join(project.folder, 'node_modules/.bin/xclip-native');
  const env = { ...process.env, ...withAddons };
  return execFileSync(process.execPath, [bin, ...words], { cwd: project.folder, env, ...ending });
}

describe('what is in it', () => {
  test('every entry point that package.json names', () => {
    const { main, types, exports, bin } = project.manifest;
    const named = [main, types, ...Object.values(exports['.']), ...Object.values(bin)];
    expect(named.map((file) => posix.normalize(file)).filter((file) => !files.includes(file))).toEqual([]);
    // Resolvers take the first condition that they know: types have to come first, default last.
    expect(Object.keys(exports['.'])).toEqual(['types', 'default']);
    for (const file of Object.values(bin)) {
      expect(readFileSync(join(project.installed, file), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    }
  });

  test('all that the native build reads', () => {
    const sources = ['native', 'cuda', 'bindings', 'configs', 'labels'].flatMap((folder) =>
      existsSync(join(root, folder)) ? filesBelow(join(root, folder)).map((file) => `${folder}/${file}`) : [],
    );
    const needed = sources.filter((file) => !/^bindings\/(?:.*\/)?build\//.test(file));
    expect(needed.length).toBeGreaterThan(100);
    expect([...needed, 'CMakeLists.txt'].filter((file) => !files.includes(file))).toEqual([]);
  });

  test('every header that a source includes', () => {
    const missing: string[] = [];
    for (const file of files.filter((name) => /\.(?:cc|h|cu|cuh)$/.test(name))) {
      const text = readFileSync(join(project.installed, file), 'utf8');
      for (const [, header] of text.matchAll(/^#include "(.+)"/gm)) {
        const folders = [posix.dirname(file), 'native', 'bindings', 'cuda'];
        if (!folders.some((folder) => files.includes(posix.join(folder, header!)))) {
          missing.push(`${file}: ${header}`);
        }
      }
    }
    expect(missing).toEqual([]);
  });

  test('nothing else', () => {
    const expected =
      /^(?:package\.json|README\.md|LICENSE|CMakeLists\.txt|(?:dist|native|cuda|bindings|configs|labels|scripts)\/.+)$/;
    expect(files.filter((file) => !expected.test(file))).toEqual([]);
    expect(files.filter((file) => /\.(?:test\.|node$|o$|pth$|log$|env|tgz$)|\/build\//.test(file))).toEqual(
      [],
    );
    expect(project.size).toBeLessThan(2 * 2 ** 20);
  });

  test('dependencies are declared, and those declared are used', () => {
    const used = new Set<string>();
    for (const file of files.filter((name) => /^(?:dist|scripts)\/.*js$/.test(name))) {
      const text = readFileSync(join(project.installed, file), 'utf8');
      for (const [, name] of text.matchAll(/(?:\bfrom |\brequire\(|\.resolve\()['"]([^'"./][^'"]*)['"]/g)) {
        used.add(name!.startsWith('@') ? name!.split('/', 2).join('/') : name!.split('/')[0]!);
      }
    }
    for (const name of [...used])
      if (name.startsWith('node:') || builtinModules.includes(name)) used.delete(name);
    used.add('node-addon-api'); // headers, asked for by CMakeLists.txt and binding.gyp
    expect([...used].sort()).toEqual(Object.keys(project.manifest.dependencies).sort());
  });
});

const program = `
const video = await VideoReader.open(${JSON.stringify(fixturePath('video/h264_b_frames.mp4'))});
const sum = await add(tensor([[1, 2], [3, 4]]), 1).toArray();
const labels = data.readLabels('labels/kinetics_400_labels.csv').length;
console.log(JSON.stringify({ sum, frames: video.info.frameCount, labels, load: typeof XCLIP.load }));
video.close();`;
const printed = {
  sum: [
    [2, 3],
    [4, 5],
  ],
  frames: expect.any(Number),
  labels: 400,
  load: 'function',
};

test('import has every name that require has, and both compute and decode', () => {
  const imports = `import { add, data, tensor, VideoReader, XCLIP } from 'xclip-native';`;
  expect(runProgram('program.mjs', imports + program)).toEqual(printed);
  const requires = `const { add, data, tensor, VideoReader, XCLIP } = require('xclip-native');`;
  expect(runProgram('program.cjs', `${requires}(async () => {${program}})();`)).toEqual(printed);
  const names = `import * as esm from 'xclip-native';
import { createRequire } from 'node:module';
const cjs = createRequire(import.meta.url)('xclip-native');
console.log(JSON.stringify(Object.keys(cjs).filter((name) => esm[name] !== cjs[name] && name !== '__esModule')));`;
  expect(runProgram('names.mjs', names)).toEqual([]);
});

test('the video entry decodes, and loads nothing else', () => {
  const clip = JSON.stringify(fixturePath('video/h264_b_frames.mp4'));
  const decode = `
(async () => {
  const video = await VideoReader.open(${clip}, { shortSide: 24 });
  const loader = await VideoLoader.open([${clip}], { batchSize: 8, width: 34, height: 24 });
  const sizes = [];
  for await (const { frames } of loader) sizes.push(frames.length);
  const loaded = Object.keys(cache).filter((file) => /compute\\.node$|dist.(?:index|tensor|ops|models)/.test(file));
  console.log(JSON.stringify({ frame: (await video.get(0)).length, sizes, loaded }));
})();`;
  const printed = { frame: 34 * 24 * 3, sizes: Array(5).fill(8 * 34 * 24 * 3), loaded: [] };
  const imports = `import { VideoLoader, VideoReader } from 'xclip-native/video';
import { createRequire } from 'node:module';
const { cache } = createRequire(import.meta.url);`;
  expect(runProgram('video.mjs', imports + decode)).toEqual(printed);
  const requires = `const { VideoLoader, VideoReader } = require('xclip-native/video'); const { cache } = require;`;
  expect(runProgram('video.cjs', requires + decode)).toEqual(printed);
  expect(
    Object.values(project.manifest.exports['./video']).filter(
      (file) => !files.includes(posix.normalize(file)),
    ),
  ).toEqual([]);
});

test('the command prints its version and its help, and finds what the package ships', () => {
  expect(runBin('--version').trim()).toBe(project.manifest.version);
  expect(runBin('--help')).toMatch(/^Usage: xclip-native[\s\S]*\btrain\b[\s\S]*\bclassify\b/);
  const info = JSON.parse(runBin('info', '-cfg', 'configs/k400/32_8.yaml', '--json'));
  expect(info).toMatchObject({ classes: 400, geometry: { frames: 8, patch: 32 } });
});

test('without addons the error says what to build', () => {
  const program = `require('xclip-native').tensor([1])`;
  const env = { ...process.env, NATIVE_COMPUTE_PATH: '', VIDEO_ADDON_PATH: '' };
  let message = '';
  try {
    execFileSync(process.execPath, ['-e', program], { cwd: project.folder, env, stdio: 'pipe' });
  } catch (error) {
    message = String((error as { stderr: Buffer }).stderr);
  }
  expect(message).toMatch(/ERR_NATIVE_LOAD[\s\S]*compute\.node: no such file[\s\S]*"npx xclip-native build"/);
  const bin = join(project.folder, 'node_modules/.bin/xclip-native');
  const doctor = spawnSync(process.execPath, [bin, 'doctor'], { env, encoding: 'utf8' });
  expect(doctor.stdout.match(/MISSING/g)).toHaveLength(2);
  expect(doctor.stdout.split('Build it with')).toEqual([expect.any(String), ' "npx xclip-native build".\n']);
});

test('out of a bundle the error says to leave the package out of it', () => {
  // As bundlers do, but for making one file of it: files are elsewhere, and nothing of the package is around them.
  const bundle = join(project.folder, 'bundle');
  cpSync(join(project.installed, 'dist/base'), join(bundle, 'base'), { recursive: true });
  cpSync(join(project.installed, 'dist/native/load.js'), join(bundle, 'out/load.js'));
  const program = `try { require('./out/load.js').native(); } catch ({ code, message }) { console.log(code, message); }`;
  const env = { ...process.env, NATIVE_COMPUTE_PATH: '' };
  const printed = execFileSync(process.execPath, ['-e', program], { cwd: bundle, env, encoding: 'utf8' });
  expect(printed).toMatch(
    /^ERR_NATIVE_LOAD .*bundle.out is not this package's own folder: .*--packages=external\)\n$/,
  );
});

test('"build" of an installed package says what it needs, and fails', () => {
  const bin = join(project.folder, 'node_modules/.bin/xclip-native');
  const foreign = join(project.installed, 'build/Release/compute.node');
  mkdirSync(dirname(foreign), { recursive: true });
  writeFileSync(foreign, 'built for another machine');
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'build'], {
    // A PATH on which there is no compiler.
    env: { ...process.env, NATIVE_COMPUTE_PATH: '', VIDEO_ADDON_PATH: '', PATH: project.folder },
    encoding: 'utf8',
  });
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(
    /^setup: missing g\+\+.*\n {2}Debian\/Ubuntu: apt-get install -y g\+\+ [\s\S]*\nerror ERR_NATIVE_LOAD: /,
  );
  expect(existsSync(foreign)).toBe(false);
});
