import { type DeviceType, type MemoryStats, native } from './load';

/**
 * Memory of a device: live tensors and bytes, their peak, and what is reserved from the system.
 *
 * @example
 * memory().liveTensors; // 0 when everything was disposed
 */
export function memory(device: DeviceType = 'cpu'): MemoryStats {
  return native().memory(device);
}

/** Starts the measurement of `memory().peakBytes` anew. */
export function resetPeakMemory(device: DeviceType = 'cpu'): void {
  native().resetPeakMemory(device);
}

/** Settles once everything queued on the device has run. @throws the queue's first error since the last wait */
export function synchronize(device: DeviceType = 'cpu'): Promise<void> {
  return native().synchronize(device);
}

/** Number of threads that compute on the CPU (default: all cores). */
export function setThreads(count: number): void {
  native().setThreads(count);
}

/** Time that an operation took on the CPU queue. */
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
export function setProfiling(on: boolean): void {
  native().setProfiling(on);
}

/** Time per operation since profiling began or the last call, slowest first. */
export function takeProfile(): OpTime[] {
  const rows = native()
    .takeProfile()
    .map(([op, calls, seconds]) => ({ op, calls, seconds }));
  return rows.sort((a, b) => b.seconds - a.seconds);
}
