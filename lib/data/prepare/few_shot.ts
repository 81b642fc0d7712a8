import { checkSize } from '../../base/check';
import { CodedError } from '../../base/error';
import { Philox } from '../../base/philox';

/**
 * `k` entries of each class (of several labels the first counts), in the order of the list. Of entries of one name in a class
 * the first counts: they are one video. A function of (list, seed): each class is drawn from in an order of its own and the
 * first k count, so the choice for a smaller k is part of that for a larger one.
 *
 * @throws ERR_LIST_FORMAT when a class has fewer than k; ERR_ARGUMENT for a k or seed that is none
 *
 * @example
 * fewShot([{ labels: [0] }, { labels: [0] }, { labels: [1] }], 1, 0).length; // 2
 */
export function fewShot<T extends { labels: readonly number[]; name?: string }>(
  entries: readonly T[],
  k: number,
  seed: number,
): T[] {
  checkSize('fewShot', 'k', k);
  checkSize('fewShot', 'seed', seed, 0);
  const byClass = new Map<number, { members: T[]; names: Set<string> }>();
  for (const entry of entries) {
    const label = entry.labels[0]!;
    const known = byClass.get(label) ?? { members: [], names: new Set() };
    byClass.set(label, known);
    if (entry.name !== undefined && known.names.has(entry.name)) continue;
    if (entry.name !== undefined) known.names.add(entry.name);
    known.members.push(entry);
  }
  const chosen = new Set<T>();
  for (const [label, { members }] of byClass) {
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
