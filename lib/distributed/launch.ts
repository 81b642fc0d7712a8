import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { usableCores } from '../base/cores';
import { CodedError } from '../base/error';
import { launcherVariable } from './launcher';

export interface LaunchOptions {
  /** Program and arguments, the same for every process. */
  command: readonly [string, ...string[]];
  /** Processes on this machine. */
  processes: number;
  /** Machines, and this one among them (default 0 of 1). */
  nodes?: number;
  node?: number;
  /** Where rank 0 is met, on machine 0; with one machine a free port of 127.0.0.1 unless given. */
  host?: string;
  port?: number;
  /** What every process has to know. Made at random for one machine; for several, agreed on beforehand. */
  token?: string;
  /** Told each line of all processes but local rank 0, whose output is that of this process. */
  onLine?: (rank: number, line: string, stream: 'stdout' | 'stderr') => void;
  /** Asks all processes to stop, with the signal that `reason` names (default SIGTERM). */
  signal?: AbortSignal;
  /** What the others have for ending by themselves after one failed, and again after they were asked to (10,000 ms). */
  graceMs?: number;
}

const keys: KnownOptions<LaunchOptions> = {
  command: true,
  processes: true,
  nodes: true,
  node: true,
  host: true,
  port: true,
  token: true,
  onLine: true,
  signal: true,
  graceMs: true,
};

/** How a process ended. */
export interface ProcessEnd {
  rank: number;
  status: number | null;
  signal: NodeJS.Signals | null;
}

/**
 * Runs a command line in several processes that find one another by the environment variables RANK, LOCAL_RANK,
 * WORLD_SIZE, MASTER_ADDR, MASTER_PORT and JOB_TOKEN. When one fails, all are stopped; when this process is killed, they
 * hear of it ({@link launcherSignal}). Unless OMP_NUM_THREADS says otherwise, the cores are shared out evenly.
 *
 * @returns the first process of this machine that did not end with status 0; null when all did
 * @throws ERR_ARGUMENT, ERR_DISTRIBUTED when the command cannot be started
 *
 * @example
 * const failed = await launch({ command: [process.execPath, 'train.js'], processes: 2 });
 */
export async function launch(options: LaunchOptions): Promise<ProcessEnd | null> {
  checkKnownOptions('launch', options, keys);
  const { command, processes, nodes = 1, node = 0, signal, graceMs = 10_000 } = options;
  const env = await jobOf(options);
  const running = new Set<ChildProcess>();
  const tell = (name: NodeJS.Signals) => {
    for (const child of running) child.kill(name);
  };
  const abort = () =>
    tell((signal?.reason as NodeJS.Signals | undefined) === 'SIGINT' ? 'SIGINT' : 'SIGTERM');
  const timers: NodeJS.Timeout[] = [];
  let first: ProcessEnd | null = null;
  let over = false;
  const ended = (end: ProcessEnd) => {
    if (over || first || (end.status === 0 && end.signal === null)) return;
    first = end;
    // They notice by themselves and say why; who does not is told, and then made to.
    timers.push(setTimeout(tell, graceMs, 'SIGTERM'), setTimeout(tell, 2 * graceMs, 'SIGKILL'));
  };
  signal?.addEventListener('abort', abort);
  try {
    const ends: Promise<void>[] = [];
    for (let local = 0; local < processes; local++) {
      const rank = node * processes + local;
      const child = spawn(command[0], command.slice(1), {
        env: {
          ...env,
          RANK: String(rank),
          LOCAL_RANK: String(local),
          WORLD_SIZE: String(nodes * processes),
          [launcherVariable]: '3',
        },
        // The last one carries nothing: it closes with this process, however that ends.
        stdio: local === 0 ? ['inherit', 'inherit', 'inherit', 'pipe'] : ['ignore', 'pipe', 'pipe', 'pipe'],
      });
      running.add(child);
      ends.push(
        endOf(child, rank, options.onLine).then((end) => {
          running.delete(child);
          ended(end);
        }),
      );
    }
    if (signal?.aborted) abort();
    await Promise.all(ends);
    return first;
  } finally {
    over = true;
    signal?.removeEventListener('abort', abort);
    for (const timer of timers) clearTimeout(timer);
    tell('SIGKILL');
  }
}

async function jobOf(options: LaunchOptions): Promise<NodeJS.ProcessEnv> {
  const { processes, nodes = 1, node = 0, host, port, token } = options;
  for (const [name, value, least, most] of [
    ['processes', processes, 1, 1024],
    ['nodes', nodes, 1, 1024],
    ['node', node, 0, nodes - 1],
  ] as const) {
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new CodedError('ERR_ARGUMENT', `${name} must be an integer in ${least}..${most}, got ${value}`);
    }
  }
  if (nodes > 1 && (host === undefined || port === undefined)) {
    throw new CodedError('ERR_ARGUMENT', 'several machines need host and port, where rank 0 is met');
  }
  const threads = Math.max(1, Math.floor(usableCores() / processes));
  return {
    OMP_NUM_THREADS: String(threads),
    ...process.env,
    MASTER_ADDR: host ?? '127.0.0.1',
    MASTER_PORT: String(port ?? (await freePort())),
    JOB_TOKEN: token ?? (nodes === 1 ? randomBytes(16).toString('hex') : ''),
  };
}

/** A port of 127.0.0.1 that nobody listened at just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function endOf(
  child: ChildProcess,
  rank: number,
  onLine: LaunchOptions['onLine'] = () => {},
): Promise<ProcessEnd> {
  for (const stream of ['stdout', 'stderr'] as const) {
    const input = child[stream];
    if (input) createInterface({ input }).on('line', (line) => onLine(rank, line, stream));
  }
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      reject(
        new CodedError('ERR_DISTRIBUTED', `rank ${rank} could not be started: ${cause.message}`, { cause }),
      );
    });
    child.once('close', (status, signal) => resolve({ rank, status, signal }));
  });
}
