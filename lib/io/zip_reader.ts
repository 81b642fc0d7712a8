import { crc32 } from 'node:zlib';
import { CodedError } from '../base/error';
import type { ByteRange, FileBytes } from './file_bytes';

/** A file inside a zip archive. */
export interface ZipEntry {
  readonly name: string;
  readonly byteLength: number;
  /** 0 stored, anything else compressed. */
  readonly method: number;
  readonly crc: number;
  /** Offset of the local header in the archive. */
  readonly offset: number;
  /** First byte after this entry that belongs to something else. */
  readonly limit: number;
}

const END_SIGNATURE = 0x06054b50;
const END64_LOCATOR_SIGNATURE = 0x07064b50;
const END64_SIGNATURE = 0x06064b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
/** Most bytes of the table of contents; a 7 GB checkpoint with 2,000 tensors needs 200 KB. */
const MAX_DIRECTORY = 64 << 20;
const CHUNK = 8 << 20;

/**
 * Reads zip archives, zip64 included, of stored (uncompressed) entries, as torch writes them (APPNOTE.TXT 6.3.10).
 * Nothing the archive says is believed: offsets and sizes are held against the file, entries may not overlap, and
 * contents are held against their CRC-32.
 */
export class ZipReader {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  private readonly file: FileBytes;
  /** torch leaves every CRC zero when told not to compute them. */
  private readonly hasChecksums: boolean;

  private constructor(file: FileBytes, entries: Map<string, ZipEntry>) {
    this.file = file;
    this.entries = entries;
    this.hasChecksums = [...entries.values()].some((entry) => entry.crc !== 0);
  }

  /** @throws the file's format code when the archive is damaged, its unsafe code when its table is absurd */
  static async open(file: FileBytes): Promise<ZipReader> {
    const end = await findEnd(file);
    if (end.size > MAX_DIRECTORY) {
      const limit = `${end.size} bytes, above the limit of ${MAX_DIRECTORY}`;
      throw new CodedError(file.codes.unsafe, `${file.path}: the zip table of contents has ${limit}`);
    }
    if (end.offset + end.size > end.position) fail(file, 'the zip table of contents reaches over its end');
    const bytes = Buffer.from((await file.read(end.offset, end.size)).buffer);
    return new ZipReader(file, limitEntries(file, parseDirectory(file, bytes, end.count), end.offset));
  }

  /**
   * Offset of the first byte of an entry's contents.
   * @throws the file's format code when there is no such entry, when it is compressed, or when it reaches too far
   */
  async start(name: string): Promise<number> {
    const entry = this.entries.get(name);
    if (!entry) fail(this.file, `the archive has no entry "${name}"`);
    if (entry.method !== 0)
      fail(this.file, `entry "${name}" is compressed; unpack and store it uncompressed`);
    const header = Buffer.from((await this.file.read(entry.offset, 30)).buffer);
    if (header.readUInt32LE(0) !== LOCAL_SIGNATURE) fail(this.file, `entry "${name}" has no local header`);
    const start = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
    if (start + entry.byteLength > entry.limit)
      fail(this.file, `entry "${name}" reaches into what follows it`);
    return start;
  }

  /** The contents of an entry; its CRC-32 is checked once, at the first read. */
  async entry(name: string): Promise<ByteRange> {
    const start = await this.start(name);
    const entry = this.entries.get(name)!;
    const range = this.file.range(start, entry.byteLength);
    let verified = !this.hasChecksums;
    const verify = (crc: number): void => {
      if (crc !== entry.crc) fail(this.file, `the checksum of entry "${name}" is wrong; the file is damaged`);
      verified = true;
    };
    return {
      byteLength: entry.byteLength,
      read: async (offset, length) => {
        if (!verified && length < entry.byteLength) verify(await checksum(range));
        const bytes = await range.read(offset, length);
        if (!verified) verify(crc32(bytes));
        return bytes;
      },
    };
  }
}

interface DirectoryEnd {
  count: number;
  size: number;
  offset: number;
  /** Where the record that ends the table of contents starts. */
  position: number;
}

async function findEnd(file: FileBytes): Promise<DirectoryEnd> {
  const length = Math.min(file.byteLength, 22 + 0xffff);
  const base = file.byteLength - length;
  const tail = Buffer.from((await file.read(base, length)).buffer);
  let at = length - 22;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === END_SIGNATURE && at + 22 + tail.readUInt16LE(at + 20) === length)
  )
    at--;
  if (at < 0) fail(file, 'the zip archive has no end; it is truncated');
  const end = {
    count: tail.readUInt16LE(at + 10),
    size: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
    position: base + at,
  };
  if (at < 20 || tail.readUInt32LE(at - 20) !== END64_LOCATOR_SIGNATURE) return end;
  const position = readSize(file, tail, at - 20 + 8);
  const end64 = Buffer.from((await file.read(position, 56)).buffer);
  if (end64.readUInt32LE(0) !== END64_SIGNATURE) fail(file, 'the zip64 end record is missing');
  return {
    count: readSize(file, end64, 32),
    size: readSize(file, end64, 40),
    offset: readSize(file, end64, 48),
    position,
  };
}

function parseDirectory(file: FileBytes, bytes: Buffer, count: number): ZipEntry[] {
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== CENTRAL_SIGNATURE) {
      fail(file, `the zip table of contents ends after ${i} of ${count} entries`);
    }
    const nameEnd = at + 46 + bytes.readUInt16LE(at + 28);
    const extraEnd = nameEnd + bytes.readUInt16LE(at + 30);
    const next = extraEnd + bytes.readUInt16LE(at + 32);
    if (next > bytes.length) fail(file, `entry ${i} reaches over the end of the zip table of contents`);
    const name = bytes.toString('utf8', at + 46, nameEnd);
    const encrypted = (bytes.readUInt16LE(at + 8) & 1) !== 0;
    if (encrypted) fail(file, `entry "${name}" is encrypted`);
    const method = bytes.readUInt16LE(at + 10);
    const sizes = [bytes.readUInt32LE(at + 24), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)];
    const [byteLength, packed, offset] = widen(file, sizes, bytes.subarray(nameEnd, extraEnd));
    if (method === 0 && packed !== byteLength)
      fail(file, `entry "${name}" is stored but has two different sizes`);
    entries.push({
      name,
      byteLength: packed!,
      method,
      crc: bytes.readUInt32LE(at + 16),
      offset: offset!,
      limit: 0,
    });
    at = next;
  }
  return entries;
}

/** Takes those of [size, packed size, offset] that read 0xffffffff from the zip64 extra field. */
function widen(file: FileBytes, sizes: number[], extra: Buffer): number[] {
  let at = 0;
  while (at + 4 <= extra.length && extra.readUInt16LE(at) !== 1) at += 4 + extra.readUInt16LE(at + 2);
  at += 4;
  return sizes.map((size) => {
    if (size !== 0xffffffff) return size;
    if (at + 8 > extra.length) fail(file, 'a zip64 entry lacks its 64-bit sizes');
    at += 8;
    return readSize(file, extra, at - 8);
  });
}

/** Gives each entry the offset where the next one starts; refuses duplicates and overlaps. */
function limitEntries(file: FileBytes, entries: ZipEntry[], directory: number): Map<string, ZipEntry> {
  const limited = new Map<string, ZipEntry>();
  const sorted = [...entries].sort((a, b) => a.offset - b.offset);
  sorted.forEach((entry, i) => {
    const limit = sorted[i + 1]?.offset ?? directory;
    if (entry.offset + 30 + entry.byteLength > limit) {
      fail(file, `zip entry "${entry.name}" (${entry.byteLength} bytes) overlaps what follows it`);
    }
    if (limited.has(entry.name)) fail(file, `the zip archive has two entries "${entry.name}"`);
    limited.set(entry.name, { ...entry, limit });
  });
  return limited;
}

async function checksum(range: ByteRange): Promise<number> {
  let crc = 0;
  for (let at = 0; at < range.byteLength; at += CHUNK) {
    crc = crc32(await range.read(at, Math.min(CHUNK, range.byteLength - at)), crc);
  }
  return crc;
}

function readSize(file: FileBytes, bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at));
  if (value > file.byteLength) fail(file, `the zip archive names offset or size ${value}, beyond the file`);
  return value;
}

function fail(file: FileBytes, what: string): never {
  throw new CodedError(file.codes.format, `${file.path}: ${what}`);
}
