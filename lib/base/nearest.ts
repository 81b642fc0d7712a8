/**
 * The name of `candidates` that `name` was most likely meant to be, or undefined when none is close. Case does not
 * count, and of a dotted name the last part alone may match (`LR` finds `TRAIN.LR`).
 *
 * @example
 * nearestName('TRAIN.EPOCH', ['TRAIN.EPOCHS', 'TRAIN.LR']); // 'TRAIN.EPOCHS'
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = name.toLowerCase();
  const lastPart = wanted.slice(wanted.lastIndexOf('.') + 1);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const known = candidate.toLowerCase();
    const whole = editDistance(wanted, known);
    // A match of the last parts alone counts half a step less than one of everything.
    const last = editDistance(lastPart, known.slice(known.lastIndexOf('.') + 1)) + 0.5;
    const distance = Math.min(whole, last);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return bestDistance <= Math.max(2, wanted.length / 3) ? best : undefined;
}

/** Levenshtein distance: insertions, deletions and replacements of one character that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
