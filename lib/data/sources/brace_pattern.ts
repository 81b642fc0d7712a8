import { CodedError } from '../../base/error';

/** Most names that one pattern may stand for. */
const maxNames = 1_000_000;

/** True when `path` has a brace range, as `train-{000000..000146}.tar`. */
export function isBracePattern(path: string): boolean {
  return /\{\d+\.\.\d+\}/.test(path);
}

/**
 * The names that a pattern with brace ranges stands for, the last range running fastest; numbers are as wide as the
 * range writes them.
 * @throws ERR_ARGUMENT when a range runs backwards or there are more than a million names
 *
 * @example
 * expandBraces('train-{000..002}.tar'); // ['train-000.tar', 'train-001.tar', 'train-002.tar']
 */
export function expandBraces(pattern: string): string[] {
  const found = /^(.*?)\{(\d+)\.\.(\d+)\}(.*)$/s.exec(pattern);
  if (!found) return [pattern];
  const [, before = '', first = '', last = '', after = ''] = found;
  const count = Number(last) - Number(first) + 1;
  const rests = expandBraces(after);
  if (!(count >= 1 && count * rests.length <= maxNames)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `${pattern}: the range {${first}..${last}} is not an ascending one of at most ${maxNames} names`,
    );
  }
  const width = first.startsWith('0') ? first.length : 0;
  return Array.from({ length: count }, (_, i) => String(Number(first) + i).padStart(width, '0')).flatMap(
    (number) => rests.map((rest) => `${before}${number}${rest}`),
  );
}
