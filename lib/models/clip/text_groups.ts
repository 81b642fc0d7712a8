/** Rows that one more pass through the text transformer is worth: its weights are read once more, its calls made. */
const PASS_ROWS = 128;

/**
 * Puts texts together that are filled up to the length of their longest, so that few rows are computed in few passes: names
 * of classes have four tokens for the most part, and ten now and then.
 *
 * @param lengths tokens of each text
 * @returns numbers of the texts of each group, ascending; groups from short texts to long ones
 */
export function groupByLength(lengths: Int32Array): number[][] {
  const distinct = [...new Set(lengths)].sort((a, b) => a - b);
  const upTo = distinct.map((length) => lengths.filter((other) => other <= length).length);
  // The best division of the texts up to a length: its cost, and the number of lengths before the last group.
  const best = [{ rows: 0, before: 0 }];
  for (const [last, length] of distinct.entries()) {
    const ways = best.map(({ rows }, before) => ({
      rows: rows + (upTo[last]! - (upTo[before - 1] ?? 0)) * length + PASS_ROWS,
      before,
    }));
    best.push(ways.reduce((a, b) => (b.rows < a.rows ? b : a)));
  }
  const groups: number[][] = [];
  for (let end = distinct.length; end > 0; end = best[end]!.before) {
    const members = new Set(distinct.slice(best[end]!.before, end));
    groups.unshift([...lengths.keys()].filter((text) => members.has(lengths[text]!)));
  }
  return groups;
}
