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
