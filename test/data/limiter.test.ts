import { setTimeout as sleep } from 'node:timers/promises';
import { Limiter } from '../../lib/data/limiter';

test('runs at most the limit at a time, in order, and goes on after a failure', async () => {
  const limiter = new Limiter(3);
  const started: number[] = [];
  let [running, most] = [0, 0];
  const job = async (k: number) => {
    started.push(k);
    most = Math.max(most, ++running);
    await sleep((k * 7) % 5);
    running--;
    if (k % 4 === 1) throw new Error(`job ${k}`);
    return k;
  };
  const jobs = Array.from({ length: 20 }, (_, k) => limiter.run(() => job(k)));
  const results = await Promise.allSettled(jobs);
  expect(started).toEqual(Array.from({ length: 20 }, (_, k) => k));
  expect(most).toBe(3);
  expect(results.filter(({ status }) => status === 'rejected').length).toBe(5);
});

test('a hundred thousand that wait begin in their order, and taking one moves none of the others', async () => {
  const count = 100_000;
  const limiter = new Limiter(4);
  const started: number[] = [];
  let [running, most] = [0, 0];
  // Of this one array only: what the test's own machinery does with arrays is none of its business.
  const { waiting } = limiter as unknown as { waiting: unknown[] };
  for (const name of ['shift', 'unshift', 'splice', 'copyWithin', 'slice'] as const) {
    waiting[name] = () => {
      throw new Error(`${name} moves all that wait`);
    };
  }
  const jobs = Array.from({ length: count }, (_, k) =>
    limiter.run(async () => {
      started.push(k);
      most = Math.max(most, ++running);
      await undefined;
      running--;
      // One that is given up, in the middle as well, leaves its place like any other.
      if (k % 1000 === 500) throw new Error(`given up ${k}`);
    }),
  );
  const results = await Promise.allSettled(jobs);
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(count / 1000);
  expect(started.length).toBe(count);
  expect(started.every((k, i) => k === i)).toBe(true);
  expect(most).toBe(4);
  expect(running).toBe(0);
});
