import { crc32 } from 'node:zlib';
import type { FileWriter } from './atomic_file';

/** What the table of contents says of an entry. */
interface Written {
  name: Buffer;
  crc: number;
  byteLength: number;
  offset: number;
}

const FLAG_UTF8 = 0x800;
/** 1980-01-01 00:00, so that equal contents give equal files. */
const DOS_DATE = 0x21;
/** Contents start at multiples of this, so that torch can map them. */
const ALIGNMENT = 64;

/**
 * Writes a zip archive of stored entries, one after the other, with the zip64 fields where sizes or offsets need them.
 * The CRC-32 is computed as the bytes pass and put into the local header afterwards.
 */
export class ZipWriter {
  private readonly file: FileWriter;
  private readonly entries: Written[] = [];
  private readonly limit: number;

  /** @param limit - from this size or offset on zip64 fields are used; tests lower it */
  constructor(file: FileWriter, limit = 0xffffffff) {
    this.file = file;
    this.limit = limit;
  }

  async add(name: string, contents: Uint8Array): Promise<void> {
    const entry = {
      name: Buffer.from(name),
      crc: crc32(contents),
      byteLength: contents.length,
      offset: this.file.position,
    };
    const header = this.localHeader(entry);
    await this.file.append(header);
    await this.file.append(contents);
    this.entries.push(entry);
  }

  /** Writes the table of contents; nothing can be added afterwards. */
  async end(): Promise<void> {
    const offset = this.file.position;
    for (const entry of this.entries) await this.file.append(this.centralHeader(entry));
    const size = this.file.position - offset;
    const count = this.entries.length;
    const wide = count >= 0xffff || size >= this.limit || offset >= this.limit;
    if (wide) await this.file.append(end64(count, size, offset, this.file.position));
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(wide ? 0xffff : count, 8);
    end.writeUInt16LE(wide ? 0xffff : count, 10);
    end.writeUInt32LE(wide ? 0xffffffff : size, 12);
    end.writeUInt32LE(wide ? 0xffffffff : offset, 16);
    await this.file.append(end);
  }

  private localHeader(entry: Written): Buffer {
    const wide = entry.byteLength >= this.limit;
    const sizes = wide ? extraField(1, sizes64(entry.byteLength, entry.byteLength)) : Buffer.alloc(0);
    const used = entry.offset + 30 + entry.name.length + sizes.length + 4;
    const padding = extraField(0x4246, Buffer.alloc((ALIGNMENT - (used % ALIGNMENT)) % ALIGNMENT));
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(wide ? 45 : 20, 4);
    this.writeCommon(header, 6, entry, wide);
    header.writeUInt16LE(entry.name.length, 26);
    header.writeUInt16LE(sizes.length + padding.length, 28);
    return Buffer.concat([header, entry.name, sizes, padding]);
  }

  private centralHeader(entry: Written): Buffer {
    const wideSize = entry.byteLength >= this.limit;
    const wideOffset = entry.offset >= this.limit;
    const values = [
      ...(wideSize ? [entry.byteLength, entry.byteLength] : []),
      ...(wideOffset ? [entry.offset] : []),
    ];
    const extra = values.length > 0 ? extraField(1, sizes64(...values)) : Buffer.alloc(0);
    const header = Buffer.alloc(46);
    header.writeUInt32LE(0x02014b50, 0);
    header.writeUInt16LE(45, 4);
    header.writeUInt16LE(values.length > 0 ? 45 : 20, 6);
    this.writeCommon(header, 8, entry, wideSize);
    header.writeUInt16LE(entry.name.length, 28);
    header.writeUInt16LE(extra.length, 30);
    header.writeUInt32LE(wideOffset ? 0xffffffff : entry.offset, 42);
    return Buffer.concat([header, entry.name, extra]);
  }

  /** Flags, method, time, date, CRC and sizes, which both headers have in this order. */
  private writeCommon(header: Buffer, at: number, entry: Written, wide: boolean): void {
    header.writeUInt16LE(FLAG_UTF8, at);
    header.writeUInt16LE(DOS_DATE, at + 6);
    header.writeUInt32LE(entry.crc, at + 8);
    header.writeUInt32LE(wide ? 0xffffffff : entry.byteLength, at + 12);
    header.writeUInt32LE(wide ? 0xffffffff : entry.byteLength, at + 16);
  }
}

function end64(count: number, size: number, offset: number, position: number): Buffer {
  const record = Buffer.alloc(76);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeUInt16LE(45, 12);
  record.writeUInt16LE(45, 14);
  sizes64(count, count, size, offset).copy(record, 24);
  record.writeUInt32LE(0x07064b50, 56);
  record.writeBigUInt64LE(BigInt(position), 64);
  record.writeUInt32LE(1, 72);
  return record;
}

function extraField(id: number, contents: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(id, 0);
  head.writeUInt16LE(contents.length, 2);
  return Buffer.concat([head, contents]);
}

function sizes64(...values: number[]): Buffer {
  return Buffer.from(new BigUint64Array(values.map(BigInt)).buffer);
}
