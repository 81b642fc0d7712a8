/**
 * Single-byte code pages, both directions. Bytes are held as "binary strings" (one character U+0000..U+00FF per
 * byte), so that byte patterns can be written as ordinary regular expressions.
 */
export interface CodePage {
  readonly name: string;
  /** True for the Windows pages: undefined bytes stand for themselves and U+FFFD travels as byte 0x1A. */
  readonly lenient: boolean;
  /** The characters of bytes 0x80..0xFF, in order. */
  readonly upperHalf: readonly string[];
  /** Character to byte, for every character that is not plain ASCII. */
  readonly byteOf: ReadonlyMap<string, string>;
}

/** The byte that a lenient page uses for U+FFFD (the control character SUBSTITUTE). */
export const LOST_BYTE = '\x1a';

/**
 * Characters of bytes 0x80..0xFF; "?" where a byte stands for the character of its own number. Written out because the
 * platform's TextDecoder reads windows-1252 as Latin-1 in some releases of Node 20 and 22, and does not know cp437.
 */
const UPPER_HALVES = {
  'windows-1252':
    '€?‚ƒ„…†‡ˆ‰Š‹Œ?Ž??‘’“”•–—˜™š›œ?žŸ\xa0¡¢£¤¥¦§¨©ª«¬\xad®¯°±²³´µ¶·¸¹º»¼½¾¿' +
    'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ',
  'windows-1251':
    'ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—?™љ›њќћџ\xa0ЎўЈ¤Ґ¦§Ё©Є«¬\xad®Ї°±Ііґµ¶·ё№є»јЅѕї' +
    'АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя',
  'windows-1250':
    '€?‚?„…†‡?‰Š‹ŚŤŽŹ?‘’“”•–—?™š›śťžź\xa0ˇ˘Ł¤Ą¦§¨©Ş«¬\xad®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż' +
    'ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙',
  'windows-1253':
    '€?‚ƒ„…†‡?‰?‹?????‘’“”•–—?™?›????\xa0΅Ά£¤¥¦§¨©?«¬\xad®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ' +
    'ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ?ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ?',
  'windows-1254':
    '€?‚ƒ„…†‡ˆ‰Š‹Œ????‘’“”•–—˜™š›œ??Ÿ\xa0¡¢£¤¥¦§¨©ª«¬\xad®¯°±²³´µ¶·¸¹º»¼½¾¿' +
    'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ',
  'windows-1257':
    '€?‚?„…†‡?‰?‹?¨ˇ¸?‘’“”•–—?™?›?¯˛?\xa0?¢£¤?¦§Ø©Ŗ«¬\xad®Æ°±²³´µ¶·ø¹ŗ»¼½¾æ' +
    'ĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙',
  'iso-8859-2':
    '?'.repeat(32) +
    '\xa0Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\xadŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎ' +
    'ĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙',
  macintosh:
    'ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø' +
    '¿¡¬√ƒ≈∆«»…\xa0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\uf8ffÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ',
  cp437:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐' +
    '└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\xa0',
};

function codePage(name: keyof typeof UPPER_HALVES | 'latin-1'): CodePage {
  const table = name === 'latin-1' ? '?'.repeat(128) : UPPER_HALVES[name];
  const upperHalf = [...table].map((char, i) => (char === '?' ? String.fromCharCode(0x80 + i) : char));
  const byteOf = new Map(upperHalf.map((char, i) => [char, String.fromCharCode(0x80 + i)]));
  const lenient = name.startsWith('windows');
  if (lenient) byteOf.set('\ufffd', LOST_BYTE);
  return { name, lenient, upperHalf, byteOf };
}

export const windows1252 = codePage('windows-1252');

/** Latin-1 and the Windows pages, whose letters lie where Latin-1 has them: the usual sources of mojibake. */
export const LATIN_LIKE_PAGES: readonly CodePage[] = [
  codePage('latin-1'),
  windows1252,
  codePage('windows-1251'),
  codePage('windows-1250'),
  codePage('windows-1253'),
  codePage('windows-1254'),
  codePage('windows-1257'),
];

/** Every page a text may have been misread with, in the order they are tried. */
export const CODE_PAGES: readonly CodePage[] = [
  ...LATIN_LIKE_PAGES,
  codePage('iso-8859-2'),
  codePage('macintosh'),
  codePage('cp437'),
];

/** The bytes of `text` on `page` as a binary string, or undefined when a character is not on it. */
export function encodeOn(page: CodePage, text: string): string | undefined {
  let bytes = '';
  for (const char of text) {
    const plain = char < '\x80' && !(page.lenient && char === LOST_BYTE);
    const byte = plain ? char : page.byteOf.get(char);
    if (byte === undefined) return undefined;
    bytes += byte;
  }
  return bytes;
}

/** The distinct characters that bytes `from`..`to` (inclusive, at least 0x80) stand for on any of `pages`. */
export function charactersOf(pages: readonly CodePage[], from: number, to = from): Set<string> {
  return new Set(pages.flatMap((page) => page.upperHalf.slice(from - 0x80, to - 0x80 + 1)));
}
