import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';
import { buildCli, runCli } from '../support/built_cli';
import { runJob } from '../support/run_job';
import { makeTinyRun } from '../support/tiny_run';

// The code that calls NCCL, between processes that each have an emulated device, with a libnccl.so.2 that carries it out
// for these (test/emulation/nccl).
beforeAll(() => {
  buildCli();
});
jest.setTimeout(120_000);

const device = { NATIVE_DEVICE: 'cuda', NATIVE_COMPUTE_PATH: process.env.NATIVE_COMPUTE_PATH! };
const withLibrary = { ...device, LD_LIBRARY_PATH: join(packageRoot(), 'build/emulation/nccl') };

test.each([2, 3])('%d processes: sums of all sizes, scaled', async (processes) => {
  const { results, failed } = await runJob('reduce', processes, withLibrary);
  expect(failed).toBeNull();
  expect(results).toHaveLength(processes);
  for (const result of results) {
    expect(result).toEqual({ wrong: 0, sizes: [1, 7, 3_000_001, 0, 65_536, 1 << 20] });
  }
});

test('broadcast takes any rank and any dtype', async () => {
  const { results } = await runJob('broadcast', 2, withLibrary);
  expect(results).toEqual(Array(2).fill([10, 11, 40, 44, 1, 1, 1, 1]));
});

test('a collective is not recorded', async () => {
  const { results } = await runJob('recorded', 2, withLibrary);
  const refused = ['ERR_DEVICE', expect.stringMatching(/^all_reduce.*cannot be recorded/)];
  expect(results).toEqual(Array(2).fill([...refused, 4, 4, 4]));
});

test('what a collective works on is held where the wait for it cannot be queued', async () => {
  const { results } = await runJob('waitInVain', 2, withLibrary);
  expect(results).toEqual(Array(2).fill(['ERR_DEVICE', 0, -1]));
});

test('buckets travel beside the backward pass', async () => {
  const { results } = await runJob('buckets', 2, withLibrary);
  expect(results[0]).toMatchObject({ told: [4, 3, 2, 1, 4, 3, 1], early: [2, 1] });
  const means = (step: number) =>
    [1.5 + step, (1 + 2 * step) / 2, 1.5 + step, 1.5 + step].map((mean) => [true, mean]);
  const expected = [0, 1].flatMap((step) => [null, ...means(step)]);
  for (const { results: found } of results as { results: unknown[] }[]) expect(found).toEqual(expected);
});

test('gradients are averaged', async () => {
  const { results } = await runJob('gradients', 2, withLibrary);
  expect(results).toEqual(Array(2).fill([1.5, 4, null, 2]));
});

test('when a process is killed, the device is freed of what waits for it and the cause is named', async () => {
  const { results, failed } = await runJob('die', 3, withLibrary);
  expect(failed).toEqual({ rank: 1, status: null, signal: 'SIGKILL' });
  for (const rank of [0, 2]) {
    expect(results[rank]).toEqual([
      'ERR_DISTRIBUTED',
      expect.stringMatching(/^rank 1 has left the job: (its connection closed|read ECONNRESET)/),
    ]);
  }
});

// The communicator is waited for no longer either, and on a busy machine one process may come for it seconds after another.
const limit = { COLLECTIVE_TIMEOUT_MS: '6000' };

test.each([
  ['lets wait too long', limit, /waited for another process, in vain for 6 s/],
  ['cannot be reached any more', { EMULATION_NCCL_ERROR: '2' }, /connection to another process failed: emul/],
])('when another process %s, the device is freed and the cause is named', async (_, env, cause) => {
  const { results, failed } = await runJob('late', 2, { ...withLibrary, ...env });
  expect(failed).toMatchObject({ status: 1 });
  expect(results[0]).toEqual(['ERR_DISTRIBUTED', expect.stringMatching(cause), 6]);
  expect(results[1]).toEqual(['ERR_DISTRIBUTED', expect.stringMatching(cause), 6]);
  expect((results[1] as string[])[1]).toMatch(/^rank 0 has left the job: /);
});

test.each([
  ['never returns from its launch', { EMULATION_NCCL_BLOCK: '1', ...limit }, /in vain for 6 s/],
  [
    'is refused within its group',
    { EMULATION_NCCL_REFUSE: '2' },
    /all_reduce: emulated failure \(NCCL error 5\)/,
  ],
  ['breaks the device', { EMULATION_NCCL_CRASH: '1', ...limit }, /the CUDA device stopped: emulated crash/],
])('a collective that %s ends with its cause, and the others are told', async (_, env, cause) => {
  const { results, failed } = await runJob('late', 2, { ...withLibrary, ...env });
  expect(failed).toEqual({ rank: expect.any(Number), status: 1, signal: null });
  expect(results[0]).toEqual(['ERR_DISTRIBUTED', expect.stringMatching(cause), 6]);
  expect((results[1] as string[])[1]).toMatch(/^rank 0 has left the job: /);
  expect((results[1] as string[])[1]).toMatch(cause);
});

test('what a collective holds is free when it has ended, and never when it does not end', async () => {
  const left = async (env: Record<string, string>) =>
    (await runJob('leaveBeside', 2, { ...withLibrary, ...env })).results;
  expect(await left({})).toEqual(Array(2).fill([0, -1]));
  expect(await left({ EMULATION_NCCL_STUCK: '1' })).toEqual(Array(2).fill([0, 0]));
});

test('a job that is closed while another thread begins a collective ends with the collective', async () => {
  const { results, failed } = await runJob('closeDuringLaunch', 2, {
    ...withLibrary,
    EMULATION_NCCL_SLOW: '1',
  });
  expect(failed).toBeNull();
  expect(results).toEqual(Array(2).fill({ sums: [6, 8], waited: true }));
});

test('a process that does not come for the communicator is waited for no longer than a collective', async () => {
  const { results } = await runJob('absent', 2, { ...withLibrary, COLLECTIVE_TIMEOUT_MS: '1500' });
  const late = expect.stringMatching(/did not come for its communicator, in 1.5 s$/);
  expect(results).toEqual(Array(2).fill(['ERR_DISTRIBUTED', late]));
});

test('without the library a job is refused with what is missing', async () => {
  const { results } = await runJob('missing', 2, device);
  for (const result of results) {
    expect(result).toEqual([
      'ERR_DISTRIBUTED',
      expect.stringMatching(/needs NCCL, which was not found \(libnccl\.so\.2/),
    ]);
  }
});

test('doctor names the library with its version, or what is missing', async () => {
  const found = await runCli(['doctor'], { env: withLibrary });
  expect(found.stdout).toMatch(
    /^cuda processes +several can train together over NCCL 2\.20\.0, see launch$/m,
  );
  const missing = await runCli(['doctor'], { env: device });
  expect(missing.stdout).toMatch(/^cuda processes +each trains alone: .* needs NCCL, which was not found/m);
});

test('two processes train on the devices as on the CPU', async () => {
  const tiny = await makeTinyRun(4, 1);
  try {
    const losses = async (name: string, env: Record<string, string>) => {
      const launch = ['launch', '--nproc-per-node', '2', 'train', '-cfg', tiny.cfg, '--output', name];
      const opts = ['--opts', 'TRAIN.OPT_LEVEL', 'O0', 'TRAIN.EPOCHS', '1', 'MODEL.DROP_PATH_RATE', '0.2'];
      const { status, stderr } = await runCli([...launch, ...opts], { cwd: tiny.root, env });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      const lines = readFileSync(join(tiny.root, name, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n');
      return lines
        .map((line) => JSON.parse(line) as { kind: string; loss: number })
        .filter(({ kind }) => kind === 'train')
        .map(({ loss }) => loss);
    };
    const two = { ...withLibrary, EMULATION_DEVICES: '2' };
    const [cpu, cuda] = [await losses('cpu', { NATIVE_DEVICE: 'cpu' }), await losses('cuda', two)];
    expect(cuda.length).toBeGreaterThan(2);
    // As in device_training.test.ts: sums in another order.
    const apart = cpu.map((loss, step) => Math.abs(loss - cuda[step]!) / loss);
    expect(Math.max(...apart)).toBeLessThan(1e-5);
  } finally {
    tiny.remove();
  }
});
