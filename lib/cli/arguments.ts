import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { CodedError } from '../base/error';

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

/** Parser of an option that takes a whole number, at most `most` where that is given. */
export function integerFrom(least: number, most?: number): (word: string) => number {
  return (word) => {
    const value = /^\d+$/.test(word) ? Number(word) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < least || value > (most ?? value)) {
      const range = most === undefined ? `of at least ${least}` : `from ${least} to ${most}`;
      throw new InvalidArgumentError(`expected a whole number ${range}.`);
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

/** Parses the size and rate of raw pictures: "340x256@16" or "340x256@29.97". */
export function pictureSize(word: string): { width: number; height: number; fps: number } {
  const [, width, height, fps] = (/^(\d{1,5})x(\d{1,5})@(\d*\.?\d+)$/.exec(word) ?? []).map(Number);
  if (width! > 0 && height! > 0 && fps! > 0) return { width: width!, height: height!, fps: fps! };
  throw new InvalidArgumentError('expected WIDTHxHEIGHT@RATE, such as 340x256@16.');
}

/** Refuses to write over what is read. @throws ERR_ARGUMENT */
export function requireOther(input: string, output: string): void {
  if (resolve(input) !== resolve(output)) return;
  throw new CodedError(
    'ERR_ARGUMENT',
    `${output} is what is read, and would be written over; name another file`,
  );
}
