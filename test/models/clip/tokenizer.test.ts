import { decode, encode, tokenize } from '../../../lib/models/clip/tokenizer';

import { readFixture } from '../../support/fixture';

type Pair = [string, number[]];
const tokens = readFixture<{
  labels: Record<string, Pair[]>;
  strings: Pair[];
  too_long: { text: string; n_tokens_with_sot_eot: number }[];
}>('golden/tokens.json');

/** `ids` as a row of the model's input. */
function padded(ids: number[], contextLength = 77): number[] {
  return [...ids, ...new Array<number>(contextLength - ids.length).fill(0)];
}

describe('tokenize', () => {
  test.each(Object.entries(tokens.labels))('class names of %s', (_, pairs) => {
    const { ids, shape } = tokenize(pairs.map(([name]) => name));
    expect(shape).toEqual([pairs.length, 77]);
    pairs.forEach(([name, expected], row) => {
      expect([name, [...ids.subarray(row * 77, row * 77 + 77)]]).toEqual([name, padded(expected)]);
    });
  });

  test.each(tokens.strings)('%j', (text, expected) => {
    expect([...tokenize(text).ids]).toEqual(padded(expected));
  });

  test.each(tokens.too_long)(
    'refuses a text of $n_tokens_with_sot_eot tokens',
    ({ text, n_tokens_with_sot_eot }) => {
      expect(() => tokenize(['fine', text])).toThrow(
        expect.objectContaining({
          code: 'ERR_TEXT_TOO_LONG',
          message: expect.stringMatching(
            new RegExp(`text 1 has ${n_tokens_with_sot_eot} tokens.*${text.slice(0, 20)}`),
          ),
        }),
      );
    },
  );

  test('takes other context lengths', () => {
    expect([...tokenize('a', 3).ids]).toEqual([49406, 320, 49407]);
    expect(() => tokenize('a b', 3)).toThrow(expect.objectContaining({ code: 'ERR_TEXT_TOO_LONG' }));
    expect(() => tokenize('a', 1)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });

  test('refuses an empty list and things that are no text', () => {
    expect(() => tokenize([])).toThrow(expect.objectContaining({ code: 'ERR_LABELS' }));
    expect(() => tokenize(['a', 5 as unknown as string])).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringContaining('texts[1]') }),
    );
  });
});

describe('decode', () => {
  test('gives back class names', () => {
    for (const [name, ids] of tokens.labels.kinetics_400!) {
      // Punctuation is set apart by spaces, which the ids do not tell.
      expect(decode(padded(ids)).replaceAll(' ', '')).toBe(name.toLowerCase().replaceAll(' ', ''));
    }
  });

  test('any characters, without start, end and padding', () => {
    expect(decode(tokenize('Naïve 猫 dances 😀').ids)).toBe('naïve 猫 dances 😀');
    expect(decode(encode('zumba'))).toBe('zumba');
  });

  test('refuses unknown ids', () => {
    expect(() => decode([320, 49408])).toThrow(
      expect.objectContaining({ code: 'ERR_INDEX_RANGE', message: expect.stringContaining('49408 at 1') }),
    );
  });
});
