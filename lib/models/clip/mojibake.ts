import { CODE_PAGES, charactersOf, encodeOn, LATIN_LIKE_PAGES, windows1252 } from './code_pages';
import { looksBroken } from './mojibake_detection';

/**
 * Repairs text whose UTF-8 bytes were read with a single-byte code page ("schÃ¶n" for "schön"), possibly several
 * times over. Follows the behaviour of the Python package ftfy 6.3 (`fix_encoding`), which the reference tokenizer
 * runs first: a text is touched only if it looks broken, and a repair is taken only if the bytes are valid UTF-8.
 */
export function repairMojibake(text: string): string {
  for (let current = text; ; ) {
    const next = repairOnce(current);
    if (next === current) return current;
    current = next;
  }
}

/** Reads C1 control characters as Windows-1252 does, which is what they were meant to be. */
export function readC1AsWindows(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (char) => windows1252.upperHalf[char.charCodeAt(0) - 0x80]!);
}

function repairOnce(text: string): string {
  if (!looksBroken(text)) return text;
  for (const page of CODE_PAGES) {
    let bytes = encodeOn(page, text);
    if (bytes === undefined) continue;
    // In Mac Roman the patterns below would match an ordinary dash followed by a space.
    if (page.name !== 'macintosh') bytes = restoreSpaces(bytes);
    if (page.lenient) bytes = bytes.replace(LOSSY_SEQUENCE, '\xef\xbf\xbd');
    const repaired = decodeUtf8(bytes);
    if (repaired !== undefined) return repaired;
  }
  const repaired = repairFragments(text);
  return repaired !== text ? repaired : readC1AsWindows(text);
}

/**
 * UTF-8 sequences in which a byte 0xA0 (no-break space) has turned into a plain space. Two-byte sequences are
 * accepted only where they give a likely character (a no-break space, à, Š, Π, Р, an Arabic digit).
 */
const SPACED_SEQUENCE =
  /[\xc2\xc3\xc5\xce\xd0\xd9] |[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] |\xf0(?: [\x80-\xbf]{2}|[\x80-\xbf] [\x80-\xbf]|[\x80-\xbf]{2} )/g;

/** Puts the byte 0xA0 back; the separate word "à" keeps the space after it (unless "à" begins a Portuguese word). */
function restoreSpaces(bytes: string): string {
  return bytes
    .replace(/\xc3 (?! |quele|quela|quilo|s )/g, '\xc3\xa0 ')
    .replace(SPACED_SEQUENCE, (sequence) => sequence.replaceAll(' ', '\xa0'));
}

/**
 * UTF-8 (and surrogates in UTF-8) in which a byte was lost: it arrives as 0x1A, or once per sequence as "?".
 * The whole sequence then means U+FFFD.
 */
const LOSSY_SEQUENCE = new RegExp(
  [
    '[\\xc2-\\xdf]\\x1a',
    '[\\xc2\\xc3]\\?',
    '\\xed[\\xa0-\\xaf][\\x1a?]\\xed[\\xb0-\\xbf][\\x1a?\\x80-\\xbf]',
    '\\xed[\\xa0-\\xaf][\\x1a?\\x80-\\xbf]\\xed[\\xb0-\\xbf][\\x1a?]',
    '[\\xe0-\\xef](?:[\\x1a?][\\x1a\\x80-\\xbf]|[\\x1a\\x80-\\xbf][\\x1a?])',
    '[\\xf0-\\xf4](?:[\\x1a?][\\x1a\\x80-\\xbf]{2}|[\\x1a\\x80-\\xbf][\\x1a?][\\x1a\\x80-\\xbf]|[\\x1a\\x80-\\xbf]{2}[\\x1a?])',
    '\\x1a',
  ].join('|'),
  'g',
);

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Strict UTF-8, but also the two-byte zero and surrogate pairs of Java and old databases; undefined if invalid. */
function decodeUtf8(bytes: string): string | undefined {
  const standard = bytes
    .replaceAll('\xc0\x80', '\0')
    .replace(/\xed([\xa0-\xaf])([\x80-\xbf])\xed([\xb0-\xbf])([\x80-\xbf])/g, (_, ...units: string[]) => {
      const [a, b, c, d] = units.slice(0, 4).map((unit) => unit.charCodeAt(0));
      const code = 0x10000 + ((a! & 0x0f) << 16) + ((b! & 0x3f) << 10) + ((c! & 0x0f) << 6) + (d! & 0x3f);
      return Buffer.from(String.fromCodePoint(code), 'utf8').toString('latin1');
    });
  try {
    return utf8.decode(Buffer.from(standard, 'latin1'));
  } catch {
    return undefined;
  }
}

/** Runs of characters that could be misread UTF-8 sequences, not in the middle of a longer garble. */
const FRAGMENT = fragmentPattern();

function fragmentPattern(): RegExp {
  const set = (...bytes: [number, number?][]) =>
    `[${bytes.map(([from, to]) => [...charactersOf(LATIN_LIKE_PAGES, from, to)].join('')).join('')}]`;
  const tail = set([0x80, 0xbf]);
  // Dashes, quotation marks, bullet and ellipsis stand for themselves often enough.
  const strictTail = tail.replace(/[–—―‘’‚“”„•…]/g, '');
  const looseTail = tail.replace(']', ' ]');
  const two = set([0xc2, 0xdf]) + looseTail;
  const three = `${set([0xe0, 0xef])}${looseTail}{2}`;
  const four = `${set([0xf0], [0xf3])}${looseTail}{3}`;
  return new RegExp(`(?<!${strictTail})(?:${two}|${three}|${four})+`, 'g');
}

/** Repairs broken-looking fragments one by one, for text put together from different encodings. */
function repairFragments(text: string): string {
  return text.replace(FRAGMENT, (fragment) =>
    fragment.length < text.length && looksBroken(fragment) ? repairMojibake(fragment) : fragment,
  );
}
