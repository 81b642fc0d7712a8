import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
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
