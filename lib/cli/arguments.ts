import { InvalidArgumentError } from 'commander';

/**
 * Arguments in the one spelling that the parser knows: `-cfg` and `--config` of the official command become `--cfg`, and
 * `_` in the name of a long option becomes `-`. What follows `--` stays.
 *
 * @example
 * normalizeArguments(['train', '-cfg', 'a.yaml', '--only_test']); // ['train', '--cfg', 'a.yaml', '--only-test']
 */
export function normalizeArguments(words: readonly string[]): string[] {
  const end = words.indexOf('--');
  return words.map((word, i) => {
    if (end >= 0 && i >= end) return word;
    const found = /^(-cfg|--[A-Za-z][A-Za-z_-]*)(=.*)?$/s.exec(word);
    if (!found) return word;
    const name = found[1]!.replaceAll('_', '-');
    return (name === '-cfg' || name === '--config' ? '--cfg' : name) + (found[2] ?? '');
  });
}

/** Parser of an option that takes a whole number. */
export function integerFrom(least: number): (word: string) => number {
  return (word) => {
    const value = /^\d+$/.test(word) ? Number(word) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`expected a whole number of at least ${least}.`);
    }
    return value;
  };
}

/** Parses an option that takes a number of seconds above 0. */
export function secondsAbove0(word: string): number {
  const value = /^\d*\.?\d+$/.test(word) ? Number(word) : 0;
  if (value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('expected a number of seconds above 0.');
}
