import { spawn } from 'node:child_process';
import { join } from 'node:path';

const launcher = `
  const { distributed } = require(${JSON.stringify(join(__dirname, '../../dist'))});
  const [, task, processes] = process.argv;
  distributed.launch({
    command: [process.execPath, ${JSON.stringify(join(__dirname, '../distributed/worker.cjs'))}, task],
    processes: Number(processes),
    onLine: (rank, line) => console.log(line),
    graceMs: 5000,
  }).then((failed) => console.log(JSON.stringify({ failed })));`;

/** Runs a task of test/distributed/worker.cjs in processes of their own, whose tensors are on the default device. @returns what each said, by rank, and how the first failed */
export async function runJob(
  task: string,
  processes: number,
  env: Record<string, string> = { NATIVE_DEVICE: 'cpu' },
): Promise<{ results: unknown[]; failed: unknown }> {
  const child = spawn(process.execPath, ['-e', launcher, task, String(processes)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (piece: Buffer) => {
    text += piece;
  });
  await new Promise((resolve) => child.on('close', resolve));
  const said = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { rank?: number; result?: unknown; failed?: unknown });
  const results: unknown[] = [];
  for (const { rank, result } of said) if (rank !== undefined) results[rank] = result;
  return { results, failed: said.find((line) => 'failed' in line)!.failed };
}
