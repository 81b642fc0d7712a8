import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { usableCores } from '../base/cores';
import { CodedError } from '../base/error';
import type { DeviceType, NativeOps, NativeTensor } from './types';

export type { DeviceType, DType, NativeOps, NativeTensor } from './types';

/** Device memory, in bytes. */
export interface MemoryStats {
  /** Storages that something still refers to. */
  liveTensors: number;
  liveBytes: number;
  /** The highest `liveBytes` since `resetPeakMemory`. */
  peakBytes: number;
  /** Taken from the system, live or cached. */
  reservedBytes: number;
}

/** What a device's backend says of itself, also where it cannot be used. */
export interface DeviceReport {
  /** This build has the backend. */
  built: boolean;
  /** Why it cannot be used, in one line; empty when it can. */
  unavailable: string;
  /** For people: driver, runtime, devices, architectures. */
  facts: Record<string, string>;
}

declare const nativeRecording: unique symbol;

/** An opaque handle of work that was recorded. */
export interface NativeRecording {
  readonly [nativeRecording]: true;
}

/** The compute addon: the generated table and the calls that deal in JavaScript values. */
export interface NativeAddon extends NativeOps {
  /** Copies host bytes (a typed array or ArrayBuffer of exactly the right size) into a new tensor. */
  tensorFromHost(
    data: ArrayBufferView | ArrayBufferLike,
    shape: readonly number[],
    dtype: string,
    device: DeviceType,
  ): NativeTensor;
  /** `[dtype, device, ...shape]`. */
  describe(tensor: NativeTensor): (string | number)[];
  /** Lets go of the storage now. Idempotent. */
  release(tensor: NativeTensor): void;
  /** The tensor's bytes, once everything queued before has run; rejects with the queue's first error. */
  read(tensor: NativeTensor): Promise<ArrayBuffer>;
  /** Settles once everything queued on the device has run; rejects with the queue's first error. */
  synchronize(device: DeviceType): Promise<void>;
  memory(device: DeviceType): MemoryStats;
  /** From here to `endRecording` operations on the device are recorded and do not run; `beside` shares its memory. */
  beginRecording(device: DeviceType, beside?: NativeRecording): void;
  /** Throws the first error of what was recorded; recording has ended in any case. */
  endRecording(device: DeviceType): NativeRecording;
  /** Queues the recorded work. */
  replay(recording: NativeRecording): void;
  /** Idempotent. */
  releaseRecording(recording: NativeRecording): void;
  /** The class of the errors that the addon throws and rejects with: `new errorClass(code, message)`. */
  setErrorClass(errorClass: typeof CodedError): void;
  /** `[op, calls, seconds]` on the device since `setProfiling` or the last call, by name. */
  takeProfile(device: DeviceType): [string, number, number][];
  /** Never throws for a device that cannot be used. */
  deviceReport(device: DeviceType): DeviceReport;
  /** Every filled kernel slot: `[name, device]`. */
  kernels(): [string, DeviceType][];
}

/**
 * The folder that holds this package's package.json.
 *
 * @throws ERR_NATIVE_LOAD where a bundler has taken this file out of it: addons are looked for beside it
 */
export function packageRoot(): string {
  if (basename(__dirname) === 'native') return join(__dirname, '../..');
  throw new CodedError(
    'ERR_NATIVE_LOAD',
    `${__dirname} is not this package's own folder: its native addons, configurations and class tables cannot be bundled; ` +
      'leave the package out of the bundle (esbuild: --packages=external)',
  );
}

/**
 * The addon `file` of a package that holds addons built for this platform, which is installed beside this one.
 *
 * @param suffix what the package's name has behind the platform's
 * @throws Error, saying why there is none
 */
export function prebuiltAddon(file: string, suffix = ''): string {
  const { name, version } = manifestOf(packageRoot());
  const wanted = prebuiltPackage(suffix);
  let found: string;
  try {
    found = dirname(require.resolve(`${wanted}/package.json`));
  } catch {
    throw new Error(`${wanted}: not installed`);
  }
  const { version: other } = manifestOf(found);
  if (other !== version)
    throw new Error(`${found}: version ${other} does not belong to ${version} of ${name}`);
  return join(found, file);
}

function prebuiltPackage(suffix: string): string {
  return `@${manifestOf(packageRoot()).name}/${process.platform}-${process.arch}${suffix}`;
}

/** Where a CUDA backend comes from, for who has none. */
export function howToGetCuda(): string {
  const build = 'builds made where nvcc is found have one';
  if (process.platform !== 'linux') return build;
  return `${build}, and so has the package ${prebuiltPackage('-cuda')}`;
}

function manifestOf(folder: string): { name: string; version: string } {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

/**
 * Loads the first native addon that works and keeps every failure for the one message.
 *
 * @param name what the addon is, for the message
 * @param override environment variable that names a file to use instead of the candidates
 * @param candidates files in the order to try; one that cannot be named throws why
 * @throws ERR_NATIVE_LOAD listing each candidate and why it failed
 */
export function loadAddon<T>(name: string, override: string, candidates: (() => string)[]): T {
  const chosen = process.env[override];
  const failures: string[] = [];
  for (const candidate of chosen ? [() => chosen] : candidates) {
    let file: string | undefined;
    try {
      file = candidate();
      if (!existsSync(file)) throw new Error('no such file');
      return require(resolve(file)) as T;
    } catch (error) {
      const { message } = error as Error;
      failures.push(`  ${file === undefined ? message : `${file}: ${message}`}`);
    }
  }
  throw new CodedError(
    'ERR_NATIVE_LOAD',
    `cannot load the ${name} addon:\n${failures.join('\n')}\n${chosen ? `Correct ${override} or unset it.` : howToBuild()}`,
  );
}

/** How to build the addons, as a sentence. npm hides what it builds, so an installed package has a command for it. */
export function howToBuild(): string {
  const root = packageRoot();
  const installed = root.split(sep).includes('node_modules');
  return `Build it with ${installed ? `"npx ${basename(root)} build"` : `"npm run build" in ${root}`}.`;
}

/** Where the build leaves the compute addon. */
export function computeAddonFile(): string {
  return join(packageRoot(), 'build/Release/compute.node');
}

let addon: NativeAddon | undefined;

/**
 * The compute addon, loaded on first use: the file that the environment variable `NATIVE_COMPUTE_PATH` names, or else the
 * local build, or else one of a package with prebuilt addons, of which the one with CUDA comes first.
 *
 * @throws ERR_NATIVE_LOAD, which lists every candidate and why it failed
 */
export function native(): NativeAddon {
  if (!addon) {
    // OpenMP reads this when it is loaded. By default its threads spin for milliseconds between two kernels, which on a
    // machine that does anything else (decoding the next batch, say) takes the cores from the work they wait for.
    process.env.GOMP_SPINCOUNT ??= '1000';
    process.env.KMP_BLOCKTIME ??= '1'; // the same of LLVM's OpenMP, in milliseconds
    // OpenMP knows which cores there are, and not how much of their time a container is granted.
    const cores = usableCores();
    if (cores < availableParallelism()) process.env.OMP_NUM_THREADS ??= String(cores);
    addon = loadAddon<NativeAddon>('compute', 'NATIVE_COMPUTE_PATH', [
      computeAddonFile,
      () => prebuiltAddon('compute.node', '-cuda'),
      () => prebuiltAddon('compute.node'),
    ]);
    addon.setErrorClass(CodedError);
  }
  return addon;
}
