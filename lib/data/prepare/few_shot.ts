import { checkSize } from '../../base/check';
import { CodedError } from '../../base/error';
import { Philox } from '../../base/philox';

/**
 * `k` entries of each class (of several labels the first counts), in the order of the list. A function of (list, seed): each class is drawn from in an order of
 * its own and the first k count, so the choice for a smaller k is part of that for a larger one.
 *
 * @throws ERR_LIST_FORMAT when a class has fewer than k; ERR_ARGUMENT for a k or seed that is none
 *
 * @example
 * fewShot([{ labels: [0] }, { labels: [0] }, { labels: [1] }], 1, 0).length; // 2
 */
export function fewShot<T extends { labels: readonly number[] }>(
  entries: readonly T[],
  k: number,
  seed: number,
): T[] {
  checkSize('fewShot', 'k', k);
  checkSize('fewShot', 'seed', seed, 0);
  const byClass = new Map<number, T[]>();
  for (const entry of entries) {
    const label = entry.labels[0]!;
    const known = byClass.get(label);
    if (known) known.push(entry);
    else byClass.set(label, [entry]);
  }
  const chosen = new Set<T>();
  for (const [label, members] of byClass) {
    if (members.length < k) {
      throw new CodedError(
        'ERR_LIST_FORMAT',
        `class ${label} has ${members.length} videos, fewer than k = ${k}`,
      );
    }
    const order = new Philox(seed, label).permutation(members.length);
    for (const i of order.slice(0, k)) chosen.add(members[i]!);
  }
  return entries.filter((entry) => chosen.has(entry));
}
