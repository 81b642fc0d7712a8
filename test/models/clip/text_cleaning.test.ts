import { CODE_PAGES, encodeOn } from '../../../lib/models/clip/code_pages';
import { unescapeCertainHtml, unescapeHtml } from '../../../lib/models/clip/html_entities';
import { repairMojibake } from '../../../lib/models/clip/mojibake';
import { looksBroken } from '../../../lib/models/clip/mojibake_detection';
import { cleanText, fixText } from '../../../lib/models/clip/text_cleaning';
import { readFixture } from '../../support/fixture';

type Pair = [string, number[]];
const tokens = readFixture<{ strings: Pair[]; cleaned: string[]; labels: Record<string, Pair[]> }>(
  'golden/tokens.json',
);
const cleaned = readFixture<[string, string][]>('text/cleaned.json');

describe('cleanText', () => {
  test('equals the reference on the awkward strings', () => {
    expect(tokens.strings.map(([text]) => cleanText(text))).toEqual(tokens.cleaned);
  });

  test('equals the reference on 300 texts misread at random (test/fixtures/text/make_cleaned.py)', () => {
    expect(cleaned.length).toBe(300);
    for (const [text, expected] of cleaned) expect(cleanText(text)).toBe(expected);
  });

  test('is idempotent on class names', () => {
    for (const [name] of Object.values(tokens.labels).flat()) {
      const once = cleanText(name);
      expect(cleanText(once)).toBe(once);
    }
  });
});

describe('fixText', () => {
  test('keeps HTML references once a line holds "<"', () => {
    expect(fixText('&eacute;\n<p>\n&eacute;')).toBe('é\n<p>\n&eacute;');
  });

  test('replaces stray surrogates and removes controls and terminal escapes', () => {
    expect(fixText('a\ud800b\x1b[1;31mc\x1b[0m\x07')).toBe('a\ufffdbc');
  });
});

describe('mojibake', () => {
  const texts = ['schön', 'naïve façade', 'l’été', 'привет', 'Ελληνικά', '日本語', '😀', 'zażółć gęślą'];
  const misread = (text: string, page: (typeof CODE_PAGES)[number]) =>
    [...Buffer.from(text, 'utf8')]
      .map((byte) => (byte < 0x80 ? String.fromCharCode(byte) : page.upperHalf[byte - 0x80]!))
      .join('');

  test.each(CODE_PAGES.slice(0, 2))('of $name is repaired, twice misread too', (page) => {
    for (const text of texts) {
      expect(looksBroken(text)).toBe(false);
      expect(fixText(misread(text, page))).toBe(fixText(text));
      expect(fixText(misread(misread(text, page), page))).toBe(fixText(text));
    }
  });

  test('leaves sound text alone, ASCII and accented', () => {
    for (const text of [
      'plain',
      'Ångström naïve ÜBER',
      'L’Œuvre d’été',
      '5 × 3 = 15',
      'ÂGE',
      '¿qué?',
      '100 €',
    ]) {
      expect(repairMojibake(text)).toBe(text);
    }
  });

  test('is told by neighbours that do not go together', () => {
    for (const text of ['§¦', '§▓', '»€', 'é€', '²Å', 'Œ,'])
      expect([text, looksBroken(text)]).toEqual([text, true]);
    for (const text of ['§ ▓', '» €', '§ 5', '5 €', 'Åse', 'Œuvre'])
      expect([text, looksBroken(text)]).toEqual([text, false]);
  });

  test('of Mac Roman does not take a dash and a space for a letter', () => {
    expect(repairMojibake('caf√© – x')).toBe('caf√© – x');
  });

  test('every page maps bytes both ways', () => {
    for (const page of CODE_PAGES) {
      expect(page.upperHalf.length).toBe(128);
      const bytes = encodeOn(page, page.upperHalf.join(''));
      expect(bytes).toBe(Array.from({ length: 128 }, (_, i) => String.fromCharCode(0x80 + i)).join(''));
      expect(encodeOn(page, '猫')).toBeUndefined();
    }
  });

  test('lost bytes become U+FFFD', () => {
    expect(repairMojibake('â€œlike thisâ€\ufffd')).toBe('“like this\ufffd');
  });
});

describe('HTML references', () => {
  test.each([
    ['&amp;&lt &#65;&#x41;&#X41', '&< AAA'],
    ['&notit; &notin; &not', '¬it; ∉ ¬'],
    ['&#128;&#x0;&#xD800;&#x110000;', '€\ufffd\ufffd\ufffd'],
    ['[&#1;&#x7f;&#xfdd0;&#x1fffe;]', '[]'],
    ['&nosuch; & &; &# &#x;', '&nosuch; & &; &# &#x;'],
  ])('%s', (text, expected) => expect(unescapeHtml(text)).toBe(expected));

  test.each([
    ['this&not that &amp', 'this&not that &amp'],
    ['&ntilde; &NTILDE; &nTILDE; &SZLIG;', 'ñ Ñ &nTILDE; SS'],
    ['&#59; &#12abc; &#233;', '&#59; &#12abc; é'],
  ])('certain ones only: %s', (text, expected) => expect(unescapeCertainHtml(text)).toBe(expected));
});
