import { setTimeout as sleep } from 'node:timers/promises';
import { inTurn } from '../../lib/data/in_turn';

/** Work whose items end when they are told to, or when their signal fires. */
function controlled() {
  const begun: number[] = [];
  const running = new Map<number, () => void>();
  const work = (item: number, signal: AbortSignal) => {
    begun.push(item);
    return new Promise<number>((resolve, reject) => {
      running.set(item, () => resolve(10 * item));
      const stop = () => setTimeout(() => reject(new Error(`${item} was stopped`)), 20);
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop);
    }).finally(() => running.delete(item));
  };
  const end = (item: number) => running.get(item)!();
  return { begun, running, work, end };
}

test('outcomes come in order, and a failure is one of them', async () => {
  const delays = [30, 5, 20, 0, 10];
  const seen = [];
  const work = async (delay: number) => {
    await sleep(delay);
    if (delay === 20) throw new Error('of 20');
    return -delay;
  };
  for await (const outcome of inTurn(delays, 3, work)) seen.push(outcome);
  expect(seen.map(({ item }) => item)).toEqual(delays);
  expect(
    seen.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.message)),
  ).toEqual([-30, -5, 'of 20', -0, -10]);
});

test.each([0, 1, 2])('%i items are under way beside the one that was handed over', async (ahead) => {
  const { begun, work, end } = controlled();
  const turn = inTurn([0, 1, 2, 3, 4], ahead, work);
  const first = turn.next();
  await sleep(1);
  expect(begun).toEqual([0, 1, 2].slice(0, ahead + 1));
  end(0);
  expect((await first).value).toMatchObject({ item: 0, value: 0 });
  await sleep(1);
  expect(begun).toHaveLength(ahead + 1); // the next `ahead`, while the consumer works
  await turn.return();
});

test('a consumer that leaves stops the items under way, and nothing runs any more then', async () => {
  const { begun, running, work, end } = controlled();
  let left = false;
  const items = (function* () {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      left = true;
    }
  })();
  setTimeout(() => end(0), 5);
  for await (const { item } of inTurn(items, 2, work)) {
    expect(item).toBe(0);
    break;
  }
  expect(running.size).toBe(0);
  expect(begun).toEqual([0, 1, 2]);
  expect(left).toBe(true);
});

test('a signal from outside reaches the work', async () => {
  const { work } = controlled();
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 5);
  const seen = [];
  for await (const outcome of inTurn([0, 1, 2], 1, work, abort.signal)) seen.push(outcome);
  expect(seen.map((outcome) => outcome.status === 'rejected' && outcome.reason.message)).toEqual(
    [0, 1, 2].map((item) => `${item} was stopped`),
  );
});
