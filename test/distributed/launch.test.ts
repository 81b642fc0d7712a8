import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { usableCores } from '../../lib/base/cores';
import { launch } from '../../lib/distributed/launch';
import { buildCli } from '../support/built_cli';

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

test('a signal that has fired before stops the processes all the same', async () => {
  const command = [process.execPath, '-e', 'setTimeout(() => {}, 10_000)'] as const;
  const stopped = (reason?: string) =>
    launch({ command, processes: 1, graceMs: 20_000, signal: AbortSignal.abort(reason) });
  expect(await stopped()).toEqual({ rank: 0, status: null, signal: 'SIGTERM' });
  expect(await stopped('SIGINT')).toEqual({ rank: 0, status: null, signal: 'SIGINT' });
});
