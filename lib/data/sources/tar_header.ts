/** Bytes of a tar header, and what contents are padded to. */
export const blockSize = 512;

/** One header block of a tar archive, as written; paths may be completed by what came before it. */
export interface TarHeader {
  path: string;
  linkPath: string;
  /** Bytes of content as the block says. */
  size: number;
  /** Type flag; regular files are '0'. */
  type: string;
}

/** Says why a block is no header. */
export class TarHeaderError extends Error {}

/** Parses a header block of 512 bytes: ustar, with the binary sizes of GNU and star. @throws TarHeaderError */
export function parseHeader(block: Buffer): TarHeader {
  const expected = numberAt(block, 148, 8, 'checksum');
  const { unsigned, signed } = checksums(block);
  // Old tars summed signed bytes.
  if (expected !== unsigned && expected !== signed)
    throw new TarHeaderError('the checksum of a header is wrong');
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? textAt(block, 345, 155) : '';
  const name = textAt(block, 0, 100);
  const flag = String.fromCharCode(block[156]!);
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    linkPath: textAt(block, 157, 100),
    size: numberAt(block, 124, 12, 'size'),
    type: flag === '\0' || flag === '7' ? '0' : flag,
  };
}

/** True for a block of zeros, which ends an archive. */
export function isEndBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * The records of a pax header, `length key=value\n` each, where the length counts itself. Later ones win.
 * @throws TarHeaderError
 */
export function parsePax(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const blank = bytes.indexOf(0x20, at);
    const digits = blank < 0 ? '' : bytes.toString('latin1', at, Math.min(blank, at + 12));
    const end = at + Number(digits);
    const equals = bytes.indexOf(0x3d, blank);
    const isSound =
      /^\d{1,10}$/.test(digits) &&
      end <= bytes.length &&
      equals > blank &&
      equals < end &&
      bytes[end - 1] === 0x0a;
    if (!isSound) throw new TarHeaderError('a pax header is malformed');
    records.set(bytes.toString('utf8', blank + 1, equals), bytes.toString('utf8', equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** A size out of a pax record. @throws TarHeaderError */
export function paxSize(text: string): number {
  const size = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(size)) throw new TarHeaderError(`the pax size "${text}" is no size`);
  return size;
}

/** The text up to the first NUL. */
export function textAt(block: Buffer, start: number, length: number): string {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

/** A number in octal digits or, with the top bit set, in two's complement binary. */
function numberAt(block: Buffer, start: number, length: number, what: string): number {
  const first = block[start]!;
  if ((first & 0x80) !== 0) {
    if (first !== 0x80) throw new TarHeaderError(`the ${what} of a header is negative or absurd`);
    const value = block.subarray(start + 1, start + length).reduce((sum, byte) => sum * 256 + byte, 0);
    if (!Number.isSafeInteger(value)) throw new TarHeaderError(`the ${what} of a header is absurd`);
    return value;
  }
  const text = block.toString('latin1', start, start + length).replace(/^[ \0]+|[ \0]+$/g, '');
  if (!/^[0-7]*$/.test(text)) {
    throw new TarHeaderError(`the ${what} of a header is ${JSON.stringify(text)}, not an octal number`);
  }
  return text === '' ? 0 : Number.parseInt(text, 8);
}

/** Sums of all bytes, with blanks in the place of the checksum. */
function checksums(block: Buffer): { unsigned: number; signed: number } {
  let unsigned = 8 * 32;
  let signed = 8 * 32;
  for (let i = 0; i < blockSize; i++) {
    if (i >= 148 && i < 156) continue;
    unsigned += block[i]!;
    signed += block.readInt8(i);
  }
  return { unsigned, signed };
}
