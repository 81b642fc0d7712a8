import { spawnSync } from 'node:child_process';
import { getEventListeners } from 'node:events';
import { join } from 'node:path';
import { usableCores } from '../../lib/base/cores';
import { launch } from '../../lib/distributed/launch';
import { buildCli } from '../support/built_cli';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();

test('where one process cannot be started the others end at once, and nothing keeps the caller', () => {
  const launcher = join(buildCli(), '../../distributed/launch.js');
  // With six descriptors left, the first process has its pipes and the second has not.
  const program = `
    const { closeSync, openSync } = require('node:fs');
    const { launch } = require(${JSON.stringify(launcher)});
    const command = [process.execPath, '-e', 'setTimeout(() => {}, 60_000)'];
    (async () => {
      const started = launch({ command, processes: 2, port: 1 });
      const taken = [];
      try { for (;;) taken.push(openSync('/dev/null')); } catch {}
      for (const fd of taken.slice(-6)) closeSync(fd);
      await started.then(console.log, (error) => console.log(error.code, error.message));
    })();`;
  const { status, stdout } = spawnSync(
    'sh',
    ['-c', 'ulimit -n 64; exec "$0" -e "$1"', process.execPath, program],
    {
      encoding: 'utf8',
      timeout: 15_000,
      killSignal: 'SIGKILL',
    },
  );
  expect(stdout).toMatch(/^ERR_DISTRIBUTED rank 1 could not be started: /);
  expect(status).toBe(0);
});

test('processes share the cores, unless OMP_NUM_THREADS says otherwise', async () => {
  // The output of the first goes where ours does.
  const program = 'if (process.env.LOCAL_RANK === "1") console.log(process.env.OMP_NUM_THREADS)';
  const threads = async () => {
    const lines: string[] = [];
    const onLine = (rank: number, line: string) => lines.push(`${rank} ${line}`);
    expect(await launch({ command: [process.execPath, '-e', program], processes: 2, onLine })).toBeNull();
    return lines;
  };
  const before = process.env.OMP_NUM_THREADS;
  try {
    delete process.env.OMP_NUM_THREADS;
    expect(await threads()).toEqual([`1 ${Math.max(1, Math.floor(usableCores() / 2))}`]);
    process.env.OMP_NUM_THREADS = '7';
    expect(await threads()).toEqual(['1 7']);
  } finally {
    if (before === undefined) delete process.env.OMP_NUM_THREADS;
    else process.env.OMP_NUM_THREADS = before;
  }
});

test('when one process fails the others are asked to end, then made to; the first to fail is told of', async () => {
  const ready = join(folder, 'ready');
  const program = `
    const { existsSync, writeFileSync } = require('node:fs');
    if (process.env.LOCAL_RANK === '0') {
      setInterval(() => existsSync(${JSON.stringify(ready)}) && process.exit(3), 20);
    } else {
      process.on('SIGTERM', () => console.log('was asked'));
      writeFileSync(${JSON.stringify(ready)}, '');
      setTimeout(() => console.log('went on'), 30_000);
    }`;
  const lines: string[] = [];
  const { signal } = new AbortController();
  const failed = await launch({
    command: [process.execPath, '-e', program],
    processes: 2,
    graceMs: 1500,
    signal,
    onLine: (_, line) => lines.push(line),
  });
  expect(failed).toEqual({ rank: 0, status: 3, signal: null });
  expect(lines).toEqual(['was asked']);
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('after a process has failed nothing keeps the caller', () => {
  const launcher = join(buildCli(), '../../distributed/launch.js');
  const program = `
    const { launch } = require(${JSON.stringify(launcher)});
    launch({ command: [process.execPath, '-e', 'process.exit(3)'], processes: 1, port: 1 }).then(console.log);`;
  // Less than the others would have had for ending.
  const { status } = spawnSync(process.execPath, ['-e', program], { timeout: 8_000, killSignal: 'SIGKILL' });
  expect(status).toBe(0);
});

test('processes know what is to be known: the token that was given, or one at random', async () => {
  const program = 'if (process.env.LOCAL_RANK === "1") console.log(process.env.JOB_TOKEN)';
  const tokens: string[] = [];
  const onLine = (_: number, line: string) => tokens.push(line);
  const command = [process.execPath, '-e', program] as const;
  for (const token of ['agreed on', undefined, undefined]) {
    expect(await launch({ command, processes: 2, token, onLine })).toBeNull();
  }
  expect(tokens[0]).toBe('agreed on');
  for (const token of tokens.slice(1)) expect(token).toMatch(/^[0-9a-f]{32}$/);
  expect(tokens[1]).not.toBe(tokens[2]);
});

test('a machine that is not among the others is refused', async () => {
  const job = { command: [process.execPath] as const, processes: 1, host: '127.0.0.1', port: 1 };
  for (const node of [2, -1, 0.5]) {
    await expect(launch({ ...job, nodes: 2, node })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message: `node must be an integer in 0..1, got ${node}`,
    });
  }
});

test('a signal that has fired before stops the processes all the same', async () => {
  const command = [process.execPath, '-e', 'setTimeout(() => {}, 10_000)'] as const;
  const stopped = (reason?: string) =>
    launch({ command, processes: 1, graceMs: 20_000, signal: AbortSignal.abort(reason) });
  expect(await stopped()).toEqual({ rank: 0, status: null, signal: 'SIGTERM' });
  expect(await stopped('SIGINT')).toEqual({ rank: 0, status: null, signal: 'SIGINT' });
});
