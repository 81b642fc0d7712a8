import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildCli, type CliResult } from '../support/built_cli';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';
import { twoMachines } from '../support/two_machines.cjs';

const root = join(__dirname, '../..');
type Machines = ReturnType<typeof twoMachines>;

// Network namespaces take root and iproute2: where there is neither, this says so and skips.
const refusal = (() => {
  try {
    twoMachines().remove();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
})();
if (refusal !== null) process.stderr.write(`two_machines.test.ts is skipped: ${refusal}\n`);
const describeHere = refusal === null ? describe : describe.skip;

jest.setTimeout(240_000);
let machines: Machines;
afterEach(() => machines?.remove());

interface Running {
  ended: Promise<CliResult>;
  /** Resolves once the output has `text`. */
  said(text: string): Promise<void>;
  /** Ends it and all that it started, at once. */
  kill(): void;
}

function start(machine: number, words: string[], env: Record<string, string> = {}, cwd = root): Running {
  const [program, ...rest] = machines.command(machine, [process.execPath, ...words]);
  const child = spawn(program!, rest, {
    cwd,
    detached: true,
    env: { ...process.env, NATIVE_DEVICE: 'cpu', DEBUG: '', ...env },
  });
  let stdout = '';
  let stderr = '';
  let heard = () => {};
  child.stdout.on('data', (piece: Buffer) => {
    stdout += piece;
    heard();
  });
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece;
  });
  return {
    ended: new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr }))),
    said: (text) =>
      new Promise((resolve) => {
        heard = () => {
          if (stdout.includes(text)) resolve();
        };
        heard();
      }),
    kill: () => process.kill(-child.pid!, 'SIGKILL'),
  };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describeHere('launch on two machines', () => {
  let tiny: TinyRun;
  const found: unknown[] = [];
  beforeAll(async () => {
    buildCli();
    tiny = await makeTinyRun(4, 2);
  });
  afterAll(() => tiny.remove());

  const node = (machine: number, output: string, epochs = '1') =>
    start(
      machine,
      [
        join(root, 'dist/cli/main.js'),
        ...['launch', '--nnodes', '2', '--node-rank', String(machine)],
        ...['--rdzv-endpoint', `${machines.addresses[0]}:29500`],
        ...['train', '-cfg', tiny.cfg, '--output', output, '--threads', '1'],
        ...['--opts', 'TRAIN.BATCH_SIZE', '2', 'TRAIN.EPOCHS', epochs],
      ],
      {},
      tiny.root,
    );

  test.each([
    ['first', 0, 1],
    ['last', 1, 0],
  ])('trains, whether the machine of rank 0 comes %s', async (name, early, late) => {
    machines = twoMachines();
    const one = node(early, name);
    await pause(1500);
    const ends = await Promise.all([one.ended, node(late, name).ended]);
    expect(ends.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
      Array(2).fill({ status: 0, stderr: '' }),
    );
    const results = JSON.parse(readFileSync(join(tiny.root, name, 'results.json'), 'utf8'));
    found.push({ ...results, date: null });
    expect(found[0]).toEqual(found.at(-1));
  });

  test('when one machine dies, the other ends at once and names its rank', async () => {
    machines = twoMachines();
    const [zero, one] = [node(0, 'dead', '100'), node(1, 'dead', '100')];
    await zero.said('Train: [0/100][2/3]');
    one.kill();
    const killed = performance.now();
    const { status, stderr } = await zero.ended;
    expect(performance.now() - killed).toBeLessThan(15_000);
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /error ERR_DISTRIBUTED: rank 1 has left the job: (its connection closed|read ECONNRESET)/,
    );
    await one.ended;
  });
});

describeHere('variables set by hand', () => {
  beforeAll(() => {
    buildCli();
  });

  // Installers of Debian and Ubuntu write such a file: the machine's own name leads to itself alone.
  test('the name of the machine of rank 0 may be a loopback address on itself', async () => {
    machines = twoMachines({ hosts: ['127.0.0.1 localhost\n127.0.1.1 first\n', '192.0.2.1 first\n'] });
    const env = { WORLD_SIZE: '3', MASTER_ADDR: 'first', MASTER_PORT: '29500' };
    const worker = join(__dirname, 'worker.cjs');
    const ends = await Promise.all(
      [0, 0, 1].map(
        (machine, rank) => start(machine, [worker, 'bits'], { ...env, RANK: String(rank) }).ended,
      ),
    );
    expect(ends.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
      Array(3).fill({ status: 0, stderr: '' }),
    );
    const results = ends.map(({ stdout }) => (JSON.parse(stdout) as { result: string }).result);
    expect(new Set(results).size).toBe(1);
  });
});
