import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { usableCores } from '../base/cores';
import { type DeviceType, howToBuild, howToGetCuda, native, packageRoot } from '../native/load';
import { videoAddon } from '../native/video';
import { print } from './terminal';
import { packageVersion } from './version';

/** CPU flags (as Linux names them) that our kernels or oneDNN make use of. */
const usefulFlags = [
  'avx2',
  'fma',
  'avx512f',
  'avx512bw',
  'avx512_bf16',
  'avx512_vnni',
  'amx_bf16',
  'asimd',
  'bf16',
];

const libraries = ['libavcodec', 'libavformat', 'libswscale', 'libdnnl', 'libgloo', 'libgomp'];

/** Adds `doctor`: what this installation consists of, and what it lacks. */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('show versions, devices and what is missing, with how to install it')
    .action(doctor);
}

function doctor(): void {
  row('xclip-native', `${packageVersion()} in ${packageRoot()}`);
  row('node', `${process.version} ${process.platform} ${process.arch}`);
  row('processor', `${cpus()[0]?.model ?? 'unknown'}, ${processorShare()}`);
  row('features', processorFlags());
  row('memory', `${gigabytes(freemem())} of ${gigabytes(totalmem())} free`);
  const computes = tryAddon('compute addon', computeFacts);
  if (computes) {
    row('processes', processesFacts('cpu'));
    cudaRows();
  }
  const works = [computes, tryAddon('decode addon', decodeFacts)].every(Boolean);
  for (const path of loadedLibraries()) row(basename(path).split('.')[0]!, path);
  if (works) {
    print('\nEverything is in place.');
    return;
  }
  print(remedy());
  process.exitCode = 1;
}

/** How many threads compute and decode, and why no more. */
function processorShare(): string {
  const [used, all] = [usableCores(), availableParallelism()];
  return used < all
    ? `${used} of ${all} threads, for the control group is granted no more`
    : `${all} threads`;
}

function remedy(): string {
  const systems: Record<string, { install: string; packages: string[] }> = JSON.parse(
    readFileSync(join(packageRoot(), 'scripts/system_packages.json'), 'utf8'),
  );
  const lines = Object.entries(systems).map(
    ([name, { install, packages }]) => `  ${`${name}:`.padEnd(15)}${install} ${packages.join(' ')}`,
  );
  return `\nWhat the addons are built with:\n${lines.join('\n')}\n${howToBuild()}`;
}

function computeFacts(): string {
  const kernels = native().kernels().length;
  return `${loadedAddon('compute.node', 'NATIVE_COMPUTE_PATH')}; ${kernels} kernels`;
}

/** Whether several processes can train together on devices of this type. */
function processesFacts(device: DeviceType): string {
  try {
    return `several can train together over ${native().commLibrary(device)}, see launch`;
  } catch (error) {
    return `each trains alone: ${(error as Error).message}`;
  }
}

/** What CUDA there is, and in one line whether it is used and if not why. */
function cudaRows(): void {
  const { built, unavailable, facts } = native().deviceReport('cuda');
  const remedy = built ? '' : `; ${howToGetCuda()}`;
  row(
    'cuda',
    unavailable ? `not used: ${unavailable}${remedy}` : 'used by default; --device cpu turns it off',
  );
  if (!built) return;
  const { driver, runtime, architectures, ...devices } = facts;
  row('cuda driver', driver === 'none' ? 'not installed' : `supports CUDA ${driver}`);
  row('cuda build', `CUDA ${runtime} for ${architectures}`);
  if (!unavailable) row('cuda processes', processesFacts('cuda'));
  for (const [name, description] of Object.entries(devices)) row(`cuda ${name}`, description);
}

function decodeFacts(): string {
  const { workers } = videoAddon().counters();
  return `${loadedAddon('video.node', 'VIDEO_ADDON_PATH')}; ${workers} workers`;
}

/** The file of an addon that was loaded. */
function loadedAddon(name: string, override: string): string | undefined {
  return process.env[override] || sharedObjects().find((file) => basename(file) === name);
}

function tryAddon(name: string, facts: () => string): boolean {
  try {
    row(name, facts());
    return true;
  } catch (error) {
    const why = (error as Error).message.replace(`\n${howToBuild()}`, ''); // which is said once, at the end
    row(name, `MISSING: ${why}`);
    return false;
  }
}

/** The libraries we care about among those the process has loaded, with their full version numbers. */
function loadedLibraries(): string[] {
  return sharedObjects()
    .filter((path) => libraries.some((library) => basename(path).startsWith(`${library}.`)))
    .map((path) => (existsSync(path) ? realpathSync(path) : path));
}

/** Files of native code that the process has loaded. */
function sharedObjects(): string[] {
  const report = process.report?.getReport() as { sharedObjects?: string[] } | undefined;
  return report?.sharedObjects ?? [];
}

function processorFlags(): string {
  const file = '/proc/cpuinfo';
  if (!existsSync(file)) return 'chosen at run time';
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
  const flags = new Set(line.trim().split(/\s+/));
  return usefulFlags.filter((flag) => flags.has(flag)).join(' ') || 'none beyond the baseline';
}

function gigabytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

function row(name: string, value: string): void {
  print(`${name.padEnd(15)}${value}`);
}
