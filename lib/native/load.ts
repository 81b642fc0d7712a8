import { existsSync } from 'node:fs';
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

/** The folder that holds this package's package.json. */
export function packageRoot(): string {
  let folder = __dirname;
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new CodedError('ERR_NATIVE_LOAD', `no package.json above ${__dirname}`);
    folder = parent;
  }
  return folder;
}

/**
 * Loads the first native addon that works and keeps every failure for the one message.
 *
 * @param name what the addon is, for the message
 * @param override environment variable that names a file to use instead of the candidates
 * @param candidates files in the order to try
 * @throws ERR_NATIVE_LOAD listing each candidate and why it failed
 */
export function loadAddon<T>(name: string, override: string, candidates: string[]): T {
  const chosen = process.env[override];
  const failures: string[] = [];
  for (const file of chosen ? [chosen] : candidates) {
    if (!existsSync(file)) {
      failures.push(`  ${file}: no such file`);
      continue;
    }
    try {
      return require(resolve(file)) as T;
    } catch (error) {
      failures.push(`  ${file}: ${(error as Error).message}`);
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

/** The compute addon, loaded on first use. */
export function native(): NativeAddon {
  if (!addon) {
    // OpenMP reads this when it is loaded. By default its threads spin for milliseconds between two kernels, which on a
    // machine that does anything else (decoding the next batch, say) takes the cores from the work they wait for.
    process.env.GOMP_SPINCOUNT ??= '1000';
    // OpenMP knows which cores there are, and not how much of their time a container is granted.
    const cores = usableCores();
    if (cores < availableParallelism()) process.env.OMP_NUM_THREADS ??= String(cores);
    addon = loadAddon<NativeAddon>('compute', 'NATIVE_COMPUTE_PATH', [computeAddonFile()]);
    addon.setErrorClass(CodedError);
  }
  return addon;
}
