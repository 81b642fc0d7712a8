import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packInto, root, withAddons } from '../support/packed';

// A package with prebuilt addons beside the main one: here this build's. scripts/prebuild.mjs makes the real ones.
const project = packInto('prebuilt-');
afterAll(() => project.remove());

const scope = join(project.folder, 'node_modules/@xclip-native');
const platform = `${process.platform}-${process.arch}`;
const { NATIVE_COMPUTE_PATH: compute, VIDEO_ADDON_PATH: video } = withAddons;

function install(suffix: string, version: string, addons: Record<string, string>): void {
  const folder = join(scope, `${platform}${suffix}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: `@xclip-native/${platform}`, version }));
  for (const [name, file] of Object.entries(addons)) symlinkSync(file, join(folder, name));
}
beforeEach(() => rmSync(scope, { recursive: true, force: true }));

// Where nothing but Node can be found.
const env = { NATIVE_COMPUTE_PATH: '', VIDEO_ADDON_PATH: '', PATH: project.folder };
function node(...words: string[]) {
  return spawnSync(process.execPath, words, { cwd: project.folder, env, encoding: 'utf8' });
}
const doctor = () => node('node_modules/xclip-native/dist/cli/main.js', 'doctor');
const installScript = () => node('node_modules/xclip-native/scripts/install.mjs');

test('is loaded where there is no local build, and npm install builds none', () => {
  install('', project.manifest.version, { 'compute.node': compute!, 'video.node': video! });
  const { status, stdout } = doctor();
  expect(stdout).toMatch(/^compute addon\s+\S+; [1-9]\d+ kernels$/m);
  expect(stdout).toMatch(/^decode addon\s+\S+; [1-9]\d* workers$/m);
  expect(status).toBe(0);
  expect(installScript()).toMatchObject({ status: 0, stdout: '', stderr: '' });
});

test('the one with CUDA comes first, and what it lacks comes from the other', () => {
  install('', project.manifest.version, { 'compute.node': compute!, 'video.node': video! });
  install('-cuda', project.manifest.version, {});
  copyFileSync(compute!, join(scope, `${platform}-cuda/compute.node`)); // a link would be told by where it leads
  const { status, stdout } = doctor();
  expect(stdout).toMatch(/^compute addon\s+\S+-cuda\/compute\.node;/m);
  expect(stdout).toMatch(/^decode addon\s+\S+video\.node;/m);
  expect(status).toBe(0);
});

test('one of another version is refused by name, as is none at all', () => {
  install('', '0.0.1', { 'compute.node': compute!, 'video.node': video! });
  const { status, stdout } = doctor();
  expect(status).toBe(1);
  expect(stdout).toContain(
    `${platform}: version 0.0.1 does not belong to ${project.manifest.version} of xclip-native`,
  );
  expect(stdout).toContain(`@xclip-native/${platform}-cuda: not installed`);
  const { status: installed, stderr } = installScript();
  expect(installed).toBe(0);
  expect(stderr).toMatch(/^setup: missing g\+\+[\s\S]*npx xclip-native build\n$/);
});

test('FFmpeg is built with every format and codec that the decode addon opens', () => {
  const allowed = readFileSync(join(root, 'native/video/allow_list.cc'), 'utf8');
  const list = (name: string) =>
    [...new RegExp(`${name}\\[\\] =([^;]*);`).exec(allowed)![1]!.matchAll(/[\w-]+/g)].map(([word]) => word);
  const script = readFileSync(join(root, 'scripts/build_ffmpeg.mjs'), 'utf8');
  const built = (kind: string) => new RegExp(`${kind}:\\s*'([^']*)'`).exec(script)![1]!.split(',');
  // Names that one part has beside its first, names that FFmpeg's configure has its own word for, and what is built into
  // Debian's FFmpeg in the place of others.
  const alias: Record<string, string> = {
    ...{ mp4: 'mov', m4a: 'mov', '3gp': 'mov', '3g2': 'mov', mj2: 'mov', webm: 'matroska', mpeg: 'mpegps' },
    ...{ msmpeg4: 'msmpeg4v3', libvpx: 'vp8', 'libvpx-vp9': 'vp9', 'libaom-av1': 'libdav1d' },
  };
  const expected = (names: string[]) => [...new Set(names.map((name) => alias[name] ?? name))].sort();
  expect(built('demuxer').sort()).toEqual(expected(list('kFormats')));
  expect(built('decoder').sort()).toEqual(expected(list('kDecoders')));
});
