import { checkTexts } from '../../base/check';
import { CodedError } from '../../base/error';
import { cleanText } from './text_cleaning';
import { END_TOKEN, START_TOKEN, VOCABULARY_SIZE, vocabulary, WORD_END } from './vocabulary';

export { END_TOKEN, START_TOKEN, VOCABULARY_SIZE };

/** Texts as the text tower takes them. */
export interface Tokens {
  /** Token ids `[K, contextLength]`, row-major: start, text, end, then 0. */
  ids: Int32Array;
  shape: [number, number];
}

/**
 * Tokenizes texts for the CLIP text tower with its lower-case byte-pair encoding. Texts are cleaned first
 * (`cleanText`) and never truncated.
 *
 * @param texts one text or K of them; class names go in as they are, without a template
 * @param contextLength tokens per text, start and end included
 * @throws ERR_LABELS for an empty list, ERR_TEXT_TOO_LONG for a text that does not fit, ERR_ARGUMENT for a non-string
 *
 * @example
 * const { ids, shape } = tokenize(['arm wrestling', 'zumba']);
 * shape; // [2, 77]
 * ids[0]; // 49406
 */
export function tokenize(texts: string | readonly string[], contextLength = 77): Tokens {
  const list = typeof texts === 'string' ? [texts] : texts;
  checkTexts('tokenize', 'texts', list);
  if (list.length === 0)
    throw new CodedError('ERR_LABELS', 'tokenize: the list of texts is empty; give at least one');
  if (!Number.isInteger(contextLength) || contextLength < 2) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `tokenize: contextLength must be an integer of at least 2, got ${contextLength}`,
    );
  }
  const ids = new Int32Array(list.length * contextLength);
  list.forEach((text, row) => {
    const tokens = [START_TOKEN, ...encode(text), END_TOKEN];
    if (tokens.length > contextLength) {
      const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
      throw new CodedError(
        'ERR_TEXT_TOO_LONG',
        `text ${row} has ${tokens.length} tokens (start and end included), the model takes ${contextLength}; ` +
          `shorten it: ${JSON.stringify(shown)}`,
      );
    }
    ids.set(tokens, row * contextLength);
  });
  return { ids, shape: [list.length, contextLength] };
}

/**
 * Words of a cleaned text: special tokens, English endings, runs of letters, single digits, runs of the rest. U+0345
 * is in no group, because it is a mark whose case pair is a letter; the reference drops it as well.
 */
const WORD =
  /<\|startoftext\|>|<\|endoftext\|>|'(?:[sſ]|t|re|ve|m|ll|d)|\p{L}+|\p{N}|(?:(?!\u0345)[^ \p{L}\p{N}])+/gu;

/** Token ids of one text after cleaning, without start and end. */
export function encode(text: string): number[] {
  const { idOf, byteSymbols } = vocabulary();
  return [...cleanText(text).matchAll(WORD)].flatMap(([word]) => {
    const special = idOf.get(word);
    if (special !== undefined && special >= START_TOKEN) return [special];
    const symbols = [...Buffer.from(word, 'utf8')].map((byte) => byteSymbols[byte]!);
    symbols.push(symbols.pop()! + WORD_END);
    return mergePairs(symbols).map((symbol) => idOf.get(symbol)!);
  });
}

/**
 * The text of token ids (cleaned, lower case). Starts after a leading start token and stops at the first end token,
 * as the model does, so a padded row can be given as it is.
 *
 * @throws ERR_INDEX_RANGE for an id outside the vocabulary
 */
export function decode(ids: Iterable<number>): string {
  const { symbols, byteOfSymbol } = vocabulary();
  let text = '';
  let position = 0;
  for (const id of ids) {
    if (id === END_TOKEN) break;
    const symbol = symbols[id];
    if (symbol === undefined) {
      throw new CodedError(
        'ERR_INDEX_RANGE',
        `decode: token id ${id} at ${position} is not in 0..${VOCABULARY_SIZE - 1}`,
      );
    }
    if (!(id === START_TOKEN && position === 0)) text += symbol;
    position++;
  }
  const bytes = text.replaceAll(WORD_END, ' ').replace(/[^ ]/gu, (char) => byteOfSymbol.get(char)!);
  return Buffer.from(bytes, 'latin1').toString('utf8').trim();
}

/** Joins neighbours, the pair of lowest rank first and everywhere it occurs, until no pair is in the table. */
function mergePairs(symbols: string[]): string[] {
  const { rankOf } = vocabulary();
  let word = symbols;
  while (word.length > 1) {
    let best = Number.POSITIVE_INFINITY;
    let [left, right] = ['', ''];
    for (let i = 0; i + 1 < word.length; i++) {
      const rank = rankOf.get(`${word[i]} ${word[i + 1]}`) ?? Number.POSITIVE_INFINITY;
      if (rank < best) [best, left, right] = [rank, word[i]!, word[i + 1]!];
    }
    if (best === Number.POSITIVE_INFINITY) break;
    const merged: string[] = [];
    for (let i = 0; i < word.length; i++) {
      const joins = word[i] === left && word[i + 1] === right;
      merged.push(joins ? left + right : word[i]!);
      if (joins) i++;
    }
    word = merged;
  }
  return word;
}
