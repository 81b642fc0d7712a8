import { getEventListeners, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Control } from '../../lib/distributed/control';
import type { JobEnvironment } from '../../lib/distributed/environment';
import { Hub } from '../../lib/distributed/hub';
import { freePort } from '../../lib/distributed/launch';
import { meet } from '../../lib/distributed/rendezvous';

let open: Control[] = [];
afterEach(() => {
  for (const control of open) control.leave(null);
  open = [];
});

async function job(worldSize: number): Promise<(rank: number) => JobEnvironment> {
  const port = await freePort();
  return (rank) => ({ rank, worldSize, localRank: rank, host: '127.0.0.1', port, token: 'secret' });
}

/** All processes of a job, in this one. The higher ranks come first: rank 0 may be late. */
async function meetAll(worldSize: number): Promise<Control[]> {
  const of = await job(worldSize);
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  const coming = ranks.reverse().map((rank) => meet(of(rank), { timeoutMs: 20_000 }));
  open = (await Promise.all(coming)).reverse();
  return open;
}

test('everyone gets the values of all by rank, in the order of the calls', async () => {
  const controls = await meetAll(3);
  // Rank 2 is ahead of the others by two calls.
  const ahead = [controls[2]!.exchange('a2'), controls[2]!.exchange({ deep: [2] })];
  const rest = controls
    .slice(0, 2)
    .map(async (control, rank) => [
      await control.exchange(`a${rank}`),
      await control.exchange({ deep: [rank] }),
    ]);
  const expected = [
    ['a0', 'a1', 'a2'],
    [{ deep: [0] }, { deep: [1] }, { deep: [2] }],
  ];
  expect(await Promise.all(ahead)).toEqual(expected);
  expect(await Promise.all(rest)).toEqual([expected, expected]);
  // Nothing of what has been exchanged is kept.
  for (const [rank, control] of controls.entries()) {
    for (const part of rank === 0 ? ['waiting', 'sums'] : ['waiting']) {
      expect(Reflect.get(control, part)).toEqual(new Map());
    }
  }
});

test('values of megabytes pass, and those that take many packets', async () => {
  const controls = await meetAll(2);
  const large = 'é'.repeat(3_000_000);
  const [zero, one] = await Promise.all(controls.map((control, rank) => control.exchange(large + rank)));
  expect(zero).toEqual([`${large}0`, `${large}1`]);
  expect(one).toEqual(zero);
});

test('who leaves with a reason is named to all, waiting or not', async () => {
  const controls = await meetAll(3);
  const told = controls.map((control) => {
    control.onLost = jest.fn();
    return control.onLost;
  });
  const waiting = [controls[0]!.exchange(0), controls[1]!.exchange(1)].map((promise) =>
    promise.catch((error) => error),
  );
  controls[2]!.leave('the disk is full');
  for (const error of await Promise.all(waiting)) {
    expect(error).toMatchObject({
      code: 'ERR_DISTRIBUTED',
      message: 'rank 2 has left the job: the disk is full',
    });
  }
  await expect(controls[1]!.exchange(2)).rejects.toThrow('rank 2 has left the job: the disk is full');
  expect(controls[0]!.lost?.message).toMatch(/rank 2/);
  for (const onLost of told.slice(0, 2)) expect(onLost).toHaveBeenCalledTimes(1);
});

test('so is rank 0, and a process that ends while others still wait for it', async () => {
  const [hub, member] = await meetAll(2);
  const waiting = member!.exchange(1).catch((error) => error);
  hub!.leave('out of memory');
  expect((await waiting).message).toBe('rank 0 has left the job: out of memory');

  const [other, ended] = await meetAll(2);
  other!.onLost = jest.fn();
  ended!.leave(null);
  await expect(other!.exchange(1)).rejects.toThrow('rank 1 has left the job: its work has ended');
  expect(other!.onLost).not.toHaveBeenCalled(); // what it had to send it has sent
});

test('a process that leaves after its last value takes nothing from the others', async () => {
  const [zero, one, two] = await meetAll(3);
  const last = [one!.exchange(1), zero!.exchange(0)];
  one!.leave(null);
  await new Promise((resolve) => setTimeout(resolve, 50));
  last.push(two!.exchange(2));
  await expect(Promise.all([last[1], last[2]])).resolves.toEqual([
    [0, 1, 2],
    [0, 1, 2],
  ]);
});

test('rank 0 says who did not come, the others that it is not there; an abort ends the waiting', async () => {
  const of = await job(3);
  await expect(meet(of(0), { timeoutMs: 100 })).rejects.toMatchObject({
    code: 'ERR_DISTRIBUTED',
    message: expect.stringMatching(/rank 0 waited for rank 1, 2 at 127\.0\.0\.1:\d+, in vain for 0\.1 s/),
  });
  await expect(meet(of(1), { timeoutMs: 100 })).rejects.toThrow(
    /rank 1 found no rank 0 at 127\.0\.0\.1:\d+ \(connect ECONNREFUSED .*\), in vain for 0\.1 s/,
  );
  await expect(meet(of(0), { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  await expect(meet(of(2), { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
});

test('who has given up rank 0 tries no more, which would keep its process', async () => {
  const of = await job(2);
  await expect(meet(of(1), { timeoutMs: 150 })).rejects.toMatchObject({ code: 'ERR_DISTRIBUTED' });
  const came = jest.fn((socket: Socket) => socket.destroy());
  const server = createServer(came).listen(of(0).port, '127.0.0.1');
  await new Promise((resolve) => setTimeout(resolve, 300)); // of a try each 100 ms
  server.close();
  expect(came).not.toHaveBeenCalled();
});

test('who has come listens to no signal any more, and holds nothing of strangers', async () => {
  const of = await job(2);
  const { signal } = new AbortController();
  const hub = meet(of(0), { signal });
  const stranger = connect(of(0).port, '127.0.0.1');
  const closed = new Promise((resolve) => stranger.on('close', resolve));
  stranger.on('error', () => {}); // it may be reset
  await once(stranger, 'connect');
  stranger.resume();
  open = await Promise.all([hub, meet(of(1), { signal })]);
  await closed;
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('a rank 0 that waited in vain holds nothing of strangers', async () => {
  const of = await job(2);
  const hub = Hub.listen(of(0), { timeoutMs: 500 }, 600_000).catch(({ code }) => code);
  const stranger = connect(of(0).port, '127.0.0.1');
  await once(stranger, 'connect');
  stranger.resume();
  await once(stranger, 'close');
  expect(await hub).toBe('ERR_DISTRIBUTED');
});

test('a stranger that says nothing is disconnected in time, and nobody who did', async () => {
  const of = await job(3);
  const hub = Hub.listen(of(0), { timeoutMs: 20_000 }, 200);
  const first = meet(of(1), { timeoutMs: 20_000 });
  const stranger = connect(of(0).port, '127.0.0.1');
  await once(stranger, 'connect');
  stranger.resume();
  await once(stranger, 'close');
  const second = meet(of(2), { timeoutMs: 20_000 });
  open = await Promise.all([hub, first, second]);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const values = await Promise.all(open.map((control, rank) => control.exchange(rank)));
  expect(values).toEqual(Array(3).fill([0, 1, 2]));
});

test('a wrong token, world size or rank is turned away with the reason, and the job comes about all the same', async () => {
  const of = await job(2);
  const hub = meet(of(0), { timeoutMs: 20_000 });
  const refused = (changes: Partial<JobEnvironment>) =>
    meet({ ...of(1), ...changes }, { timeoutMs: 20_000 }).catch((error) => error.message);
  expect(await refused({ token: 'guess' })).toMatch(
    /turned rank 1 away: its JOB_TOKEN is not that of this job/,
  );
  expect(await refused({ worldSize: 3 })).toMatch(/its WORLD_SIZE is 3, that of rank 0 is 2/);
  expect(await refused({ rank: 2 })).toMatch(/there is no rank 2/);
  open = await Promise.all([hub, meet(of(1), { timeoutMs: 20_000 })]);
});

test('a rank that is taken is turned away', async () => {
  const of = await job(3);
  const hub = meet(of(0), { timeoutMs: 20_000 });
  const both = [of(1), of(1)].map((one) => meet(one, { timeoutMs: 20_000 }));
  const late = await Promise.any(both.map((one) => one.then(() => Promise.reject(), String)));
  expect(late).toMatch(/turned rank 1 away: another process is rank 1 already/);
  const [first] = (await Promise.allSettled([...both, meet(of(2))])).flatMap((one) =>
    one.status === 'fulfilled' ? [one.value] : [],
  );
  open = [await hub, first!];
});

test.each([
  ['no JSON', 'GET / HTTP/1.1\r\n\r\n'],
  ['a line without an end', 'x'.repeat(100_000)],
  [
    'a line that is too long',
    `${JSON.stringify({ rank: 1, worldSize: 2, token: 'secret', more: 'x'.repeat(5000) })}\n`,
  ],
  ['null', 'null\n'],
  ['a list', '[1]\n'],
  ['nested without end', `${'['.repeat(4000)}\n`],
])('a stranger that sends %s is disconnected and nobody else is harmed', async (_, text) => {
  const of = await job(2);
  const hub = meet(of(0), { timeoutMs: 20_000 });
  const socket = connect(of(0).port, '127.0.0.1');
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {}); // it may be reset
  await once(socket, 'connect');
  socket.write(text);
  socket.resume();
  await closed;
  open = await Promise.all([hub, meet(of(1), { timeoutMs: 20_000 })]);
  const values = await Promise.all(open.map((control, rank) => control.exchange(rank)));
  expect(values).toEqual([
    [0, 1],
    [0, 1],
  ]);
});
