import { named, wrongKind } from '../base/check';
import { CodedError } from '../base/error';
import { warn } from '../base/warning';
import { type DeviceType, howToGetCuda, type MemoryStats, native } from './load';

/**
 * A device name. `auto` is what the environment variable NATIVE_DEVICE names, else CUDA when this build and machine can
 * use it, else the CPU; `cuda:1` is the second card, for the whole process.
 */
export type Device = DeviceType | 'auto' | `cuda:${number}`;

let chosen: Device = 'auto';
let warned = false;

/**
 * The device of tensors and models that are made without naming one. At the start it is `auto`.
 *
 * @example
 * setDefaultDevice('cpu');
 * zeros([2, 3]).device; // 'cpu'
 *
 * @throws ERR_DEVICE when the device cannot be used, with the reason
 */
export function setDefaultDevice(device: Device): void {
  resolveDevice(device);
  chosen = device;
}

/** The device of tensors and models that are made without naming one, see {@link setDefaultDevice}. */
export function defaultDevice(): DeviceType {
  return resolveDevice(chosen);
}

/**
 * The device that a name stands for on this machine. Where `auto` has to be the CPU although this build has CUDA
 * kernels, the process warns once (code `DEVICE_FALLBACK`) and says why.
 *
 * @throws ERR_DEVICE when a device was named that cannot be used, with the reason
 */
export function resolveDevice(device: Device = chosen): DeviceType {
  const [, type, index] = /^(auto|cpu|cuda)(?::(\d+))?$/.exec(device) ?? [];
  if (!type || (type !== 'cuda' && index)) {
    throw new CodedError('ERR_DEVICE', `unknown device '${device}': use 'cpu', 'cuda', 'cuda:N' or 'auto'`);
  }
  const preferred = process.env.NATIVE_DEVICE;
  if (type === 'auto' && preferred && preferred !== 'auto') return resolveDevice(preferred as Device);
  if (type === 'cpu') return 'cpu';
  if (index) native().selectDevice('cuda', Number(index));
  const { built, unavailable } = native().deviceReport('cuda');
  if (!unavailable) return 'cuda';
  if (type === 'cuda') {
    const remedy = built ? '' : ` (${howToGetCuda()})`;
    throw new CodedError('ERR_DEVICE', `device '${device}' cannot be used: ${unavailable}${remedy}`);
  }
  if (built && !warned) {
    warned = true;
    warn('DEVICE_FALLBACK', `computing on the CPU: ${unavailable}`);
  }
  return 'cpu';
}

/**
 * Memory of a device: live tensors and bytes, their peak, and what is reserved from the system.
 *
 * @example
 * memory().liveTensors; // 0 when everything was disposed
 */
export function memory(device: Device = chosen): MemoryStats {
  return native().memory(resolveDevice(device));
}

/** Starts the measurement of `memory().peakBytes` anew. */
export function resetPeakMemory(device: Device = chosen): void {
  native().resetPeakMemory(resolveDevice(device));
}

/** Gives memory that no tensor uses back to the system. */
export function emptyCache(device: Device = chosen): void {
  native().emptyCache(resolveDevice(device));
}

/** Settles once everything queued on the device has run. @throws the queue's first error since the last wait */
export async function synchronize(device: Device = chosen): Promise<void> {
  await native().synchronize(resolveDevice(device));
}

/** Number of threads that compute on the CPU (default: all cores), 1 to 1024. @throws ERR_ARGUMENT */
export function setThreads(count: number): void {
  named('setThreads', () => native().setThreads(count));
}

/** How exactly float32 matrices are multiplied, see {@link setFloat32MatmulPrecision}. */
export type Float32MatmulPrecision = 'highest' | 'high';

/**
 * How exactly float32 matrices are multiplied, in this process, from now on: `highest` (at the start) in float32; `high`
 * lets CUDA devices from compute capability 8.0 on round operands to tf32, 10 bits behind the point, and multiply them
 * on tensor cores. Sums, biases and what else is not a product of matrices stay float32, as do attention, products of
 * rows that do not start on 16 bytes, and the CPU's. {@link captureGraph} and StepGraph keep what they were recorded with.
 *
 * @example
 * setFloat32MatmulPrecision('high');
 * const y = matmul(ones([64, 768]), ones([768, 64])); // in tf32, on such a device
 *
 * @throws ERR_ARGUMENT for any other word
 */
export function setFloat32MatmulPrecision(precision: Float32MatmulPrecision): void {
  if (precision !== 'highest' && precision !== 'high') {
    throw wrongKind('setFloat32MatmulPrecision', 'precision', "'highest' or 'high'", precision);
  }
  native().setAllowTf32(precision === 'high');
}

/** What {@link setFloat32MatmulPrecision} set last. */
export function float32MatmulPrecision(): Float32MatmulPrecision {
  return native().allowTf32() ? 'high' : 'highest';
}

/** Time that an operation took on a device. */
export interface OpTime {
  op: string;
  calls: number;
  seconds: number;
}

/**
 * Turns the measurement of operations on or off; {@link takeProfile} fetches and clears what was measured.
 *
 * @example
 * setProfiling(true);
 * await model.classify('clip.mp4', names);
 * console.table(takeProfile());
 */
export function setProfiling(on: boolean, device: Device = chosen): void {
  native().setProfiling(resolveDevice(device), on);
}

/**
 * Time per operation since profiling began or the last call, slowest first. It holds what was waited for: call it after
 * `synchronize` or reading a tensor.
 */
export function takeProfile(device: Device = chosen): OpTime[] {
  const rows = native()
    .takeProfile(resolveDevice(device))
    .map(([op, calls, seconds]) => ({ op, calls, seconds }));
  return rows.sort((a, b) => b.seconds - a.seconds);
}
