import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { buildCli } from './built_cli';

export const root = join(__dirname, '../..');

/** Environment in which an installed package that was not built finds this repository's addons. */
export const withAddons: Record<string, string> = {
  NATIVE_COMPUTE_PATH: join(root, 'build/Release/compute.node'),
  VIDEO_ADDON_PATH: join(root, 'bindings/video/build/Release/video.node'),
};

/** The parts of package.json that these tests look at. */
export interface Manifest {
  version: string;
  main: string;
  types: string;
  exports: { '.': Record<string, string>; './video': Record<string, string> };
  bin: Record<string, string>;
  dependencies: Record<string, string>;
  scripts: Record<string, string>;
}

/** A project that has nothing but the packed package installed. */
export interface PackedProject {
  /** The empty project's folder. */
  folder: string;
  /** The unpacked package in it. */
  installed: string;
  /** Bytes of the tarball. */
  size: number;
  manifest: Manifest;
  remove(): void;
}

/** Packs the package as `npm publish` would and unpacks it as `npm install` would; dependencies are linked. */
export function packInto(prefix: string): PackedProject {
  buildCli();
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '.bin'), { recursive: true });
  // Without scripts: dist/ is built, and other tests are using it.
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz'))!);
  const size = statSync(tarball).size;
  execFileSync('tar', ['-xzf', tarball, '-C', folder]);
  rmSync(tarball);
  const installed = join(modules, 'xclip-native');
  renameSync(join(folder, 'package'), installed);
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Manifest;
  for (const name of Object.keys(manifest.dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
  for (const [name, file] of Object.entries(manifest.bin)) {
    symlinkSync(join('..', 'xclip-native', file), join(modules, '.bin', name));
  }
  return { folder, installed, size, manifest, remove: () => rmSync(folder, { recursive: true }) };
}

/** Paths of all files below a folder, relative to it, with forward slashes, sorted. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
}
