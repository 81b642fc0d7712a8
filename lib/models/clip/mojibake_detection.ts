import { CODE_PAGES, charactersOf } from './code_pages';

/*
 * Decides whether text looks like UTF-8 that was read with the wrong code page. Characters that code pages have
 * beyond ASCII fall into a few classes; some neighbours hardly ever occur in real text (an accented small letter
 * before a currency sign) and always in misread text. The classes and neighbours are those of the Python package
 * ftfy 6.3 (`badness`), so that cleaned text equals the reference's.
 */

/** Every Latin letter of Latin-1, the Windows pages and ISO 8859-2. */
const LATIN_LETTERS = [...charactersOf(CODE_PAGES.slice(0, 8), 0x80, 0xff)].filter((char) =>
  /\p{Script=Latin}/u.test(char),
);
const latin = (category: RegExp, except: string) =>
  LATIN_LETTERS.filter((char) => category.test(char) && !except.includes(char)).join('');

/** Character class name to the inside of a regular-expression class. */
const CLASSES = {
  common: '\u00a0\u00ad·´–—―…’',
  bad: '¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\ufffdªº',
  law: '¶§',
  currency: '¢£¥₧€',
  open: '¡«¿©΄΅‘‚“„•‹\uf8ff',
  close: '®»˝”›™',
  number: '²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№',
  /** Letters that also make faces: "ÔÒ". They count as accented nowhere. */
  face: 'Ò-ÖÙ-Üò-öø-üŐŌŪŲ°',
  upper: `${latin(/\p{Lu}/u, 'ÒÓÔÕÖÙÚÛÞĮŌŐŔŖŪŲ')}Ґ`,
  lower: `${latin(/\p{Ll}/u, 'òóôõöøùúûýþÿıńņňōőŗřţūůűųƒ')}ґﬁﬂ`,
  /** Letters of alphabets where these are no accents but everyday letters. */
  plainUpper: 'ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я',
  plainLower: 'α-ωάέήίΰа-џ',
  box: '│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓',
};
type CharClass = keyof typeof CLASSES;

/** What hardly ever follows a character of the class, in text that is right. */
const SUSPECT_FOLLOWERS: Partial<Record<CharClass, CharClass[]>> = {
  bad: ['bad', 'lower', 'upper', 'box', 'open', 'close', 'currency', 'number', 'law'],
  lower: ['bad', 'upper', 'currency', 'box'],
  upper: ['bad', 'number', 'law', 'box'],
  plainLower: ['upper'],
  box: ['bad', 'upper', 'lower', 'currency', 'number', 'law', 'open', 'close', 'face'],
  open: ['bad', 'box'],
  close: ['bad', 'upper', 'lower', 'currency', 'box'],
  currency: ['bad', 'upper', 'lower', 'open', 'box'],
  number: ['bad', 'upper', 'lower', 'open', 'box'],
  law: ['bad', 'box'],
};

const any = (...names: CharClass[]) => `[${names.map((name) => CLASSES[name]).join('')}]`;
/** One character: of the named classes or of `extra`. */
const anyOr = (extra: string, ...names: CharClass[]) => any(...names).replace(']', `${extra}]`);

/** One white-space character as Python understands it: U+001C..U+001F are, the byte-order mark is not. */
export const WHITE_SPACE =
  '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const arabicTail = anyOr('ŸŠ®°µ»', 'common', 'currency', 'bad', 'number', 'open');
const cyrillicTail = anyOr('\\x80-\\x9f°µ', 'bad', 'open', 'close', 'currency');
const greekTail = anyOr('\\x80-\\x9f°', 'bad', 'open', 'close', 'currency');

/** Longer contexts, then particular sequences. */
const SUSPECT_SEQUENCES = [
  `[a-zA-Z]${any('plainLower', 'plainUpper')}${any('bad')}`,
  WHITE_SPACE + any('upper') + any('currency'),
  any('lower', 'upper', 'box', 'currency', 'close') + any('open') + any('number'),
  any('lower', 'upper', 'currency', 'number', 'box', 'law') + any('close') + any('open'),
  `[a-z]${any('upper')}${any('open', 'currency')}`,
  `${any('lower', 'upper')}${any('open', 'close')}[\\p{L}\\p{N}_]`,
  `${any('upper')}°`,
  '[Œœ][^A-Za-z]',
  // Windows-1252: accented letters and signs, U+00A0..U+00FF; then Arabic, South Asian letters.
  `[ÂÃÎÐ]${anyOr('€œŠš¢£Ÿž\\xa0\\xad®©°·»–—´', 'open', 'close')}`,
  '×[²³]',
  `[ØÙ]${arabicTail}[ØÙ]${arabicTail}`,
  'à[²µ¹¼½¾]',
  // Windows-1252: à, á and no-break spaces that have become spaces.
  'Ã[\\xa0¡]',
  `[a-z]${WHITE_SPACE}?[ÃÂ] `,
  '^[ÃÂ] ',
  `${anyOr('a-z.,?!', 'close')}Â${anyOr(' ', 'open', 'close')}`,
  // Mac Roman
  '√[±∂†≠®™´≤≥¥µø]',
  '≈[°¢]',
  '‚Ä[ìîïòôúùû†°¢π]',
  '‚[âó][àä°ê]',
  // Windows-1251: punctuation; Latin-1 and Cyrillic letters; two rounds at once
  'вЂ',
  `[ВГРС]${cyrillicTail}[ВГРС]`,
  'ГўВЂВ.[A-Za-z ]',
  // Windows-1253: punctuation; Latin-1 and Greek letters
  'β€[™\\xa0Ά\\xad®°]',
  `[ΒΓΞΟ]${greekTail}[ΒΓΞΟ]`,
  // Windows-1257: punctuation
  'ā€',
];

const SUSPECT = new RegExp(
  [
    '[\\x80-\\x9f]',
    ...Object.entries(SUSPECT_FOLLOWERS).map(([name, next]) => any(name as CharClass) + any(...next)),
    ...SUSPECT_SEQUENCES,
  ].join('|'),
  'u',
);

/** True when `text` holds a sequence of characters that is far likelier misread UTF-8 than meant. */
export function looksBroken(text: string): boolean {
  return SUSPECT.test(text);
}
