import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DeviceType } from '../../lib/native/load';
import { fixturePath } from './fixture';

interface Findings {
  calls: number;
  worked: number;
  refused: number;
  codes: Record<string, number>;
  /** Calls that failed with anything but a coded error. */
  faults: string[];
  /** Exported functions that the program does not know. */
  missing: string[];
  rssMB: number;
}

// A process of its own: a crash or a hang shows, and the file names the call.
function fuzz(addon: string, seed: number, calls: number, device: DeviceType): Findings {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-arguments-'));
  try {
    const last = join(folder, 'last');
    const program = join(__dirname, '../native/fuzz_arguments.cjs');
    const video = fixturePath('video/h264_b_frames.mp4');
    const words = [program, addon, video, String(seed), String(calls), last, device];
    const run = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 120_000 });
    const ending = { status: run.status, signal: run.signal, stderr: run.stderr };
    const call = run.status === 0 ? '' : readFileSync(last, 'utf8').trim();
    expect({ ...ending, call }).toEqual({ status: 0, signal: null, stderr: '', call: '' });
    return JSON.parse(run.stdout) as Findings;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Expects that whatever functions of an addon are given, they work or say what is wrong. */
export function expectCodedRefusals(addon: string, calls: number, device: DeviceType = 'cpu'): void {
  for (const seed of [1, 2, 3]) {
    const { faults, missing, worked, refused, codes, rssMB } = fuzz(addon, seed, calls, device);
    expect({ faults, missing }).toEqual({ faults: [], missing: [] });
    expect(rssMB).toBeLessThan(1000);
    // That most calls are refused at their first argument would say little.
    expect(worked).toBeGreaterThan(calls / 6);
    expect(refused).toBeGreaterThan(calls / 6);
    expect(Object.keys(codes).length).toBeGreaterThan(4);
  }
}
