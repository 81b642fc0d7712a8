import { synchronize } from '../../lib/native/device';
import { native } from '../../lib/native/load';
import { cast } from '../../lib/ops/copy';
import { tensor } from '../../lib/tensor/tensor';
import { buildCli } from '../support/built_cli';
import { runJob } from '../support/run_job';

beforeAll(() => {
  buildCli();
});

test.each([2, 3, 4])('%d processes: sums of all sizes, scaled', async (processes) => {
  const { results, failed } = await runJob('reduce', processes);
  expect(failed).toBeNull();
  expect(results).toHaveLength(processes);
  for (const result of results) {
    expect(result).toEqual({ wrong: 0, sizes: [1, 7, 3_000_001, 0, 65_536, 1 << 20] });
  }
});

test('sums have the same bits on all processes and in every run', async () => {
  const digests = [...(await runJob('bits', 3)).results, ...(await runJob('bits', 3)).results];
  expect(digests).toHaveLength(6);
  expect(new Set(digests).size).toBe(1);
});

test('broadcast takes any rank and any dtype; copies in 16 bits follow it, and sums', async () => {
  const { results } = await runJob('broadcast', 2);
  expect(results).toEqual(Array(2).fill([10, 11, 40, 44, 1, 1, 1, 1]));
});

test('gradients are averaged; a missing one counts as zero where another process has it', async () => {
  const { results } = await runJob('gradients', 2);
  expect(results).toEqual([
    [1.5, 4, null, 2],
    [1.5, 4, null, 2],
  ]);
});

test('buckets go out in one order, whichever gradients a process has, and leave what nobody has', async () => {
  const { results } = await runJob('buckets', 2);
  const means = (step: number) => [
    null,
    [true, 1.5 + step],
    [true, (1 + 2 * step) / 2],
    [true, 1.5 + step],
    [true, 1.5 + step],
  ];
  const expected = [...means(0), ...means(1)];
  expect(results).toEqual([
    { told: [4, 3, 2, 1, 4, 3, 1], early: [2, 1], results: expected },
    { told: [4, 3, 1, 4, 3, 2, 1], early: [1, 2], results: expected },
  ]);
});

test('values are agreed on', async () => {
  const { results } = await runJob('agree', 2);
  expect(results).toEqual([
    [5, true, false],
    [5, true, false],
  ]);
});

test('what a collective holds is free when its group is left', async () => {
  const { results } = await runJob('leaveBeside', 2);
  expect(results).toEqual(Array(2).fill([0, -1]));
});

test('what failed of a collective that nobody waited for is told when the group is left', async () => {
  const { results } = await runJob('leaveFailed', 2, { NATIVE_DEVICE: 'cpu', COLLECTIVE_TIMEOUT_MS: '1000' });
  const failed = expect.stringMatching(/the connection to another process failed: .*time/i);
  expect(results).toEqual([
    ['ERR_DISTRIBUTED', failed],
    [
      'ERR_DISTRIBUTED',
      expect.stringMatching(/^rank 0 has left the job: .*the connection to another process/),
    ],
  ]);
});

test('the addon joins one job at a time and refuses what does not belong to it', async () => {
  const op = native();
  const x = tensor([1, 2], undefined, { device: 'cpu' });
  const join = (rank: number, processes: number, seconds: number) =>
    op.commOpen('cpu', rank, processes, '127.0.0.1', seconds);
  const refused = (code: string, ...calls: (() => unknown)[]) => {
    for (const call of calls) expect(call).toThrow(expect.objectContaining({ code }));
  };
  refused(
    'ERR_ARGUMENT',
    () => join(0, 1, 0),
    () => join(1, 1, 10),
    () => join(-1, 1, 10),
  );
  refused(
    'ERR_DISTRIBUTED',
    () => op.commConnect('cpu', ['']),
    () => op.allReduce([x.handle], 1),
  );
  join(0, 1, 10);
  refused('ERR_DISTRIBUTED', () => join(0, 1, 10));
  refused('ERR_DTYPE', () => op.allReduce([cast(x, 'int32').handle], 1));
  refused(
    'ERR_ARGUMENT',
    () => op.commConnect('cpu', []),
    () => op.broadcast([x.handle], -1),
    () => op.broadcast([x.handle], 1),
  );
  op.commConnect('cpu', ['']);
  op.allReduce([x.handle], 3);
  op.commWait('cpu');
  expect(await x.toArray()).toEqual([3, 6]);
  for (let i = 0; i < 2; i++) op.commClose('cpu');

  join(0, 2, 10);
  for (const [address, reason] of [
    ['0g', /'0g' is no address/],
    ['0', /has 1 digits/],
    ['00'.repeat(1000), /has 2000 digits/],
  ] as const) {
    op.commConnect('cpu', ['', address]);
    await expect(synchronize('cpu')).rejects.toMatchObject({
      code: 'ERR_DISTRIBUTED',
      message: expect.stringMatching(reason),
    });
  }
  op.commClose('cpu');
});

test('wrong arguments are refused before anything is sent', async () => {
  const { results } = await runJob('misuse', 2);
  expect(results).toEqual([
    ['ERR_DTYPE', 'ERR_ARGUMENT'],
    ['ERR_DTYPE', 'ERR_ARGUMENT'],
  ]);
});

test.each([
  ['die', []],
  ['dieBeside', [6]],
])(
  'when a process is killed in the middle (%s), the others end within seconds and name it',
  async (task, own) => {
    const { results, failed } = await runJob(task, 3);
    expect(failed).toEqual({ rank: 1, status: null, signal: 'SIGKILL' });
    for (const rank of [0, 2]) {
      expect(results[rank]).toEqual([
        ...own,
        'ERR_DISTRIBUTED',
        expect.stringMatching(/^rank 1 has left the job: (its connection closed|read ECONNRESET)/),
      ]);
    }
  },
);
