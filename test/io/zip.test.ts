import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomically } from '../../lib/io/atomic_file';
import { ZipReader } from '../../lib/io/zip_reader';
import { ZipWriter } from '../../lib/io/zip_writer';
import { expectCode, temporaryFolder, withFile } from './helpers';

const folder = temporaryFolder();
const path = join(folder, 'archive.zip');
const contents: Record<string, Uint8Array> = {
  'a/data.pkl': Buffer.from('some text'),
  'a/empty': new Uint8Array(0),
  'a/é': Uint8Array.from({ length: 5000 }, (_, i) => i * 7),
};

async function archive(limit?: number): Promise<Buffer> {
  await writeAtomically(path, 0, async (file) => {
    const zip = new ZipWriter(file, limit);
    for (const [name, bytes] of Object.entries(contents)) await zip.add(name, bytes);
    await zip.end();
  });
  return readFileSync(path);
}

/** Opens changed bytes and reads every entry. */
function readAll(bytes: Uint8Array): Promise<Record<string, Uint8Array>> {
  return withFile(path, bytes, async (file) => {
    const zip = await ZipReader.open(file);
    const found: Record<string, Uint8Array> = {};
    for (const name of zip.entries.keys()) {
      const entry = await zip.entry(name);
      found[name] = Buffer.from(await entry.read(0, entry.byteLength));
    }
    return found;
  });
}

/** The archive with `change` applied. */
async function changed(change: (bytes: Buffer) => void): Promise<Buffer> {
  const bytes = Buffer.from(await archive());
  change(bytes);
  return bytes;
}

/** Offset of the entry for `name` in the table of contents. */
function central(bytes: Buffer, name: string): number {
  return bytes.lastIndexOf(Buffer.from(name)) - 46;
}

describe('ZipReader and ZipWriter', () => {
  it.each([undefined, 4000, 100, 0])('agree, with zip64 fields from size %p on', async (limit) => {
    expect(await readAll(await archive(limit))).toEqual(
      Object.fromEntries(Object.entries(contents).map(([name, bytes]) => [name, Buffer.from(bytes)])),
    );
  });

  it('put contents at multiples of 64', async () => {
    const bytes = await archive();
    expect(bytes.indexOf(contents['a/data.pkl']!) % 64).toBe(0);
    expect(bytes.indexOf(contents['a/é']!) % 64).toBe(0);
  });

  it('put sizes from the limit on into zip64 fields, in both headers', async () => {
    const bytes = await archive(5000);
    const at = central(bytes, 'a/é');
    const local = bytes.readUInt32LE(at + 42);
    expect([bytes.readUInt32LE(at + 20), bytes.readUInt32LE(local + 18)]).toEqual([0xffffffff, 0xffffffff]);
    const extra = local + 30 + bytes.readUInt16LE(local + 26);
    const fields = [
      bytes.readUInt16LE(extra),
      bytes.readBigUInt64LE(extra + 4),
      bytes.readBigUInt64LE(extra + 12),
    ];
    expect(fields).toEqual([1, 5000n, 5000n]);
    expect(bytes.readUInt32LE(central(bytes, 'a/data.pkl') + 20)).toBe(9);
  });

  it('put an offset at the limit into a zip64 field', async () => {
    const plain = await archive();
    const bytes = await archive(plain.readUInt32LE(central(plain, 'a/empty') + 42));
    expect(bytes.readUInt32LE(central(bytes, 'a/empty') + 42)).toBe(0xffffffff);
    expect(Object.keys(await readAll(bytes))).toEqual(Object.keys(contents));
  });

  it('find zip64 fields behind those of other programs', async () => {
    const bytes = await archive(0);
    const at = central(bytes, 'a/é');
    const extra = at + 46 + bytes.readUInt16LE(at + 28);
    const offset = bytes.readBigUInt64LE(extra + 20);
    for (const size of [20, 24]) bytes.writeUInt32LE(5000, at + size);
    bytes.fill(0x10, extra, extra + 28);
    for (const [place, value] of [0x5455, 8].entries()) bytes.writeUInt16LE(value, extra + 2 * place); // times
    for (const [place, value] of [1, 8].entries()) bytes.writeUInt16LE(value, extra + 12 + 2 * place);
    bytes.writeBigUInt64LE(offset, extra + 16);
    expect((await readAll(bytes))['a/é']).toEqual(Buffer.from(contents['a/é']!));
  });

  it('read parts after checking the whole once', async () => {
    const bytes = await archive();
    await withFile(path, bytes, async (file) => {
      const entry = await (await ZipReader.open(file)).entry('a/é');
      expect([...(await entry.read(2, 3))]).toEqual([14, 21, 28]);
      await expectCode(entry.read(4999, 2), 'ERR_CHECKPOINT_FORMAT', /outside the file/);
    });
    bytes[bytes.indexOf(contents['a/é']!) + 4000]! ^= 1;
    await withFile(path, bytes, async (file) => {
      const entry = await (await ZipReader.open(file)).entry('a/é');
      await expectCode(entry.read(2, 3), 'ERR_CHECKPOINT_FORMAT', /checksum of entry "a\/é"/);
    });
  });

  it('say which entry is missing', async () => {
    await withFile(path, await archive(), async (file) => {
      await expectCode(
        (await ZipReader.open(file)).entry('b'),
        'ERR_CHECKPOINT_FORMAT',
        /archive\.zip: .*no entry "b"/,
      );
    });
  });
});

describe('ZipReader refuses', () => {
  const damages: [string, RegExp, (bytes: Buffer) => void][] = [
    ['changed contents', /checksum of entry "a\/data.pkl"/, (b) => b.write('S', b.indexOf('some text'))],
    ['compressed entries', /"a\/é" is compressed/, (b) => b.writeUInt16LE(8, central(b, 'a/é') + 10)],
    ['encrypted entries', /"a\/é" is encrypted/, (b) => b.writeUInt16LE(1, central(b, 'a/é') + 8)],
    ['two sizes', /two different sizes/, (b) => b.writeUInt32LE(4999, central(b, 'a/é') + 24)],
    [
      'sizes beyond the file',
      /overlaps what follows/,
      (b) => {
        b.writeUInt32LE(0xfffffffe, central(b, 'a/é') + 20);
        b.writeUInt32LE(0xfffffffe, central(b, 'a/é') + 24);
      },
    ],
    ['overlapping entries', /overlaps what follows/, (b) => b.writeUInt32LE(0, central(b, 'a/é') + 42)],
    [
      'offsets beyond the contents',
      /overlaps what follows/,
      (b) => b.writeUInt32LE(b.length - 30, central(b, 'a/é') + 42),
    ],
    ['local headers that are none', /no local header/, (b) => b.writeUInt32LE(0, 0)],
    ['local headers that reach too far', /reaches into what follows/, (b) => b.writeUInt16LE(0xffff, 28)],
    [
      'missing 64-bit sizes',
      /lacks its 64-bit sizes/,
      (b) => b.writeUInt32LE(0xffffffff, central(b, 'a/é') + 42),
    ],
    ['a wrong number of entries', /ends after 3 of 9 entries/, (b) => b.writeUInt16LE(9, b.length - 12)],
    ['a table over its end', /reaches over its end/, (b) => b.writeUInt32LE(b.length - 30, b.length - 6)],
    [
      'names over the end of the table',
      /over the end/,
      (b) => b.writeUInt16LE(0xffff, central(b, 'a/é') + 28),
    ],
    ['an absurd table', /table of contents has \d+ bytes/, (b) => b.writeUInt32LE(0xfffffff0, b.length - 10)],
    [
      'two entries of a name',
      /two entries "a\/b"/,
      (b) => {
        for (const name of ['a/é', 'a/empty']) {
          const at = central(b, name);
          b.write('a/b', at + 46);
          b.writeUInt16LE(b.readUInt16LE(at + 28) - 3 + b.readUInt16LE(at + 30), at + 30);
          b.writeUInt16LE(3, at + 28);
        }
      },
    ],
  ];
  it.each(damages)('%s', async (_, message, change) => {
    const bytes = await changed(change);
    const error = await readAll(bytes).catch((reason) => reason);
    expect(error.message).toMatch(message);
    expect(error.code).toMatch(/^ERR_CHECKPOINT_(FORMAT|UNSAFE)$/);
  });

  it('zip64 sizes beyond the file', async () => {
    const bytes = Buffer.from(await archive(0));
    const locator = bytes.length - 42;
    bytes.writeBigUInt64LE(2n ** 60n, locator + 8);
    await expectCode(readAll(bytes), 'ERR_CHECKPOINT_FORMAT', /beyond the file/);
    bytes.writeBigUInt64LE(8n, locator + 8);
    await expectCode(readAll(bytes), 'ERR_CHECKPOINT_FORMAT', /zip64 end record is missing/);
  });

  it('truncated archives, wherever they end', async () => {
    const bytes = await archive();
    for (let length = 0; length < bytes.length; length += 97) {
      await expectCode(readAll(bytes.subarray(0, length)), 'ERR_CHECKPOINT_FORMAT', /truncated/);
    }
  });
});
