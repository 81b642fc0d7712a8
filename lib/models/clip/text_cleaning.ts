import { unescapeCertainHtml, unescapeHtml } from './html_entities';
import { readC1AsWindows, repairMojibake } from './mojibake';
import { WHITE_SPACE } from './mojibake_detection';

const SPACES = new RegExp(`${WHITE_SPACE}+`, 'g');

/** Typographic ligatures and digraphs of Latin letters, and the letters they stand for. */
const LIGATURES = new Map(
  (
    'Ĳ=IJ ĳ=ij ŉ=ʼn Ǳ=DZ ǲ=Dz ǳ=dz Ǆ=DŽ ǅ=Dž ǆ=dž Ǉ=LJ ǈ=Lj ǉ=lj Ǌ=NJ ǋ=Nj ǌ=nj ' +
    'ﬀ=ff ﬁ=fi ﬂ=fl ﬃ=ffi ﬄ=ffl ﬅ=ſt ﬆ=st'
  )
    .split(' ')
    .map((entry) => entry.split('=') as [string, string]),
);
const LIGATURE = new RegExp(`[${[...LIGATURES.keys()].join('')}]`, 'g');

/** Control characters without a visible effect, among them the byte-order mark and interlinear annotation. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it removes
const CONTROL = /[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;

/**
 * The text a label is tokenized as: repaired ({@link fixText}), HTML unescaped twice, white space collapsed to single
 * spaces, trimmed, lower case. Equals what the reference tokenizer feeds to byte-pair encoding.
 *
 * @example
 * cleanText('  Itâ€™s a <b>Photo</b> of&nbsp;caf&amp;eacute; '); // "it's a <b>photo</b> of café"
 */
export function cleanText(text: string): string {
  return unescapeHtml(unescapeHtml(fixText(text)))
    .replace(SPACES, ' ')
    .replace(/^ | $/g, '')
    .toLowerCase();
}

/**
 * Repairs text as `ftfy.fix_text` 6.3 with its defaults does: mojibake, certain HTML references (until a "<" shows
 * that the text is HTML), ligatures, full- and half-width forms, curly quotes, line ends, stray surrogates, terminal
 * escapes and control characters; the result is in Unicode normal form C. Lines are repaired independently.
 */
export function fixText(text: string): string {
  let isHtml = false;
  return text
    .split(/(?<=\n)/)
    .map((line) => {
      isHtml ||= line.includes('<');
      return fixLine(line, isHtml);
    })
    .join('');
}

function fixLine(line: string, isHtml: boolean): string {
  for (let current = line; ; ) {
    const next = fixOnce(current, isHtml);
    if (next === current) return current;
    current = next;
  }
}

function fixOnce(line: string, isHtml: boolean): string {
  const text = repairMojibake(isHtml ? line : unescapeCertainHtml(line));
  return (
    readC1AsWindows(text)
      .replace(LIGATURE, (char) => LIGATURES.get(char)!)
      .replace(/[\u3000\uff01-\uffef]/g, (char) => (char === '\u3000' ? ' ' : char.normalize('NFKC')))
      .replace(/[\u201c-\u201f]/g, '"')
      .replace(/[\u02bc\u2018-\u201b]/g, "'")
      .replace(/\r\n?|[\u2028\u2029\x85]/g, '\n')
      .replace(/\p{Surrogate}/gu, '\ufffd')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escapes start with one
      .replace(/\x1b\[[\d;]*[a-zA-Z]/g, '')
      .replace(CONTROL, '')
      .normalize('NFC')
  );
}
