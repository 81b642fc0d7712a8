import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '../..');
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const main = join(root, 'dist/cli/main.js');

/** What a run of the command line came to. */
export interface CliResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Compiles dist/ when it is missing or older than a source; types are checked elsewhere. Tests in several processes take
 * turns.
 */
export function buildCli(): string {
  const lock = join(
    tmpdir(),
    `built-cli-${process.getuid?.() ?? 0}-${Buffer.from(root).toString('hex').slice(-40)}`,
  );
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > 120_000) rmdirSync(lock);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
  try {
    const built = statSync(main, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (built < newest(join(root, 'lib'))) {
      execFileSync(process.execPath, [tsc, '-p', root, '--noCheck']);
    }
  } finally {
    rmdirSync(lock);
  }
  return main;
}

function newest(folder: string): number {
  const entries = readdirSync(folder, { withFileTypes: true });
  const times = entries.map((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? newest(path) : statSync(path).mtimeMs;
  });
  return Math.max(0, ...times);
}

/**
 * Runs the compiled command line to its end.
 * @param options.onStdout told each piece of output, with the process: to send signals
 */
export function runCli(
  words: readonly string[],
  options: {
    cwd?: string;
    env?: Record<string, string>;
    onStdout?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
  } = {},
): Promise<CliResult> {
  const child = spawn(process.execPath, [buildCli(), ...words], {
    cwd: options.cwd,
    env: { ...process.env, DEBUG: '', ...options.env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (piece: Buffer) => {
    stdout += piece;
    options.onStdout?.(stdout, (signal) => child.kill(signal));
  });
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}
