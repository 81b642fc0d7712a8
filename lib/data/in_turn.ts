import { controllerUnder } from './abortable';

/** What became of an item. */
export type Outcome<T, R> = { item: T } & PromiseSettledResult<R>;

/**
 * Works on items beside a consumer that takes what became of them one by one, in their order: up to `ahead` more
 * than it has taken are under way or done. When it leaves, and when `outer` fires, `signal` tells those under way to stop;
 * nothing runs any more once the loop is over.
 *
 * @example
 * for await (const outcome of inTurn([1, 2, 3], 1, async (n) => n * n)) {
 *   if (outcome.status === 'fulfilled') console.log(outcome.item, outcome.value); // 1 1, 2 4, 3 9
 * }
 */
export async function* inTurn<T, R>(
  items: Iterable<T>,
  ahead: number,
  work: (item: T, signal: AbortSignal) => Promise<R>,
  outer?: AbortSignal,
): AsyncGenerator<Outcome<T, R>, void> {
  const abort = controllerUnder(outer);
  const { signal } = abort;
  const settle = async (item: T): Promise<Outcome<T, R>> => {
    try {
      return { item, status: 'fulfilled', value: await work(item, signal) };
    } catch (reason) {
      return { item, status: 'rejected', reason };
    }
  };
  const source = items[Symbol.iterator]();
  const pending: Promise<Outcome<T, R>>[] = [];
  const fill = (count: number) => {
    while (pending.length < count) {
      const next = source.next();
      if (next.done) return;
      pending.push(settle(next.value));
    }
  };
  try {
    for (;;) {
      fill(ahead + 1);
      const next = pending.shift();
      if (!next) return;
      const outcome = await next;
      fill(ahead);
      yield outcome;
    }
  } finally {
    abort.abort();
    source.return?.();
    await Promise.all(pending);
  }
}
