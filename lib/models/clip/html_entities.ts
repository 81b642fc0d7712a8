import { decodeHTML, decodeHTMLStrict } from 'entities';
import { windows1252 } from './code_pages';

/**
 * Decodes HTML character references as the HTML5 standard does in text: named ones also without a semicolon where
 * that is allowed (`&copy` but also the start of `&notit;`), numeric ones with the Windows-1252 reading of 0x80..0x9F.
 * References to characters that may not appear in a document (controls, noncharacters) vanish.
 *
 * @example
 * unescapeHtml('caf&eacute; &#38; &lt;b&gt;'); // 'café & <b>'
 */
export function unescapeHtml(text: string): string {
  return text.replace(
    /&(?:#(?:([0-9]+)|[xX]([0-9a-fA-F]+));?|[^\t\n\f <&#;]{1,32};?)/g,
    (reference, decimal?: string, hexadecimal?: string) => {
      if (decimal !== undefined) return characterOf(Number.parseInt(decimal, 10));
      if (hexadecimal !== undefined) return characterOf(Number.parseInt(hexadecimal, 16));
      return decodeHTML(reference);
    },
  );
}

/**
 * Decodes only what cannot be anything else: references that end in a semicolon, and names that somebody put into
 * capitals as a whole (`&NTILDE;`) where no other entity has that name. `this&not that` stays as it is.
 */
export function unescapeCertainHtml(text: string): string {
  return text.replace(/&#?[0-9A-Za-z]{1,24};/g, (reference) => {
    if (reference.startsWith('&#')) {
      const decoded = unescapeHtml(reference);
      return decoded.includes(';') ? reference : decoded;
    }
    const decoded = decodeHTMLStrict(reference);
    if (decoded !== reference) return decoded;
    const lower = reference.toLowerCase();
    const isCapitals = reference === reference.toUpperCase() && decodeHTML(reference) === reference;
    const decodedLower = isCapitals ? decodeHTMLStrict(lower) : lower;
    return decodedLower === lower ? reference : decodedLower.toUpperCase();
  });
}

/** The text a numeric reference stands for. */
function characterOf(code: number): string {
  if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return '\ufffd';
  if (code >= 0x80 && code <= 0x9f) return windows1252.upperHalf[code - 0x80]!;
  const isControl = (code < 0x20 && ![0x09, 0x0a, 0x0c, 0x0d].includes(code)) || code === 0x7f;
  const isNoncharacter = (code & 0xfffe) === 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
  return isControl || isNoncharacter ? '' : String.fromCodePoint(code);
}
