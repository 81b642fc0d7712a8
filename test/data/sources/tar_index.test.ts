import { mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { indexTar } from '../../../lib/data/sources/tar_index';
import { FileBytes } from '../../../lib/io/file_bytes';
import { fixturePath } from '../../support/fixture';
import { tarHeader as header } from '../../support/tar';

const folder = mkdtempSync(join(tmpdir(), 'tar-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'x.tar');
const codes = { format: 'ERR_ARCHIVE_FORMAT', unsafe: 'ERR_ARCHIVE_FORMAT' } as const;
const longName = `${'a folder with a long name/'.repeat(9)}clip é 日.mp4`;

async function index(file: string) {
  const bytes = await FileBytes.open(file, codes);
  let reads = 0;
  const read = bytes.read.bind(bytes);
  bytes.read = (offset, length) => {
    reads += length;
    return read(offset, length);
  };
  try {
    return { members: await indexTar(bytes), reads };
  } finally {
    await bytes.close();
  }
}

function indexBytes(...blocks: Uint8Array[]) {
  writeFileSync(path, Buffer.concat(blocks));
  return index(path);
}

function padded(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return `${length}${rest}`;
}

const end = Buffer.alloc(1024);
const refused = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_ARCHIVE_FORMAT', message: expect.stringMatching(message) });

test.each(['gnu', 'posix', 'python_gnu', 'python_pax'])('%s.tar: names, contents, links', async (kind) => {
  const file = fixturePath(`archives/${kind}.tar`);
  const bytes = readFileSync(file);
  const { members } = await index(file);
  const contents = Object.fromEntries(
    members.map(({ name, offset, length }) => [name, bytes.toString('utf8', offset, offset + length)]),
  );
  const linked = kind.startsWith('python') ? {} : { 'hard.mp4': 'first' };
  expect(contents).toEqual({
    'a.mp4': 'first',
    'class one/b c.mp4': 'x'.repeat(700),
    [longName]: 'long name',
    'empty.mp4': '',
    ...linked,
  });
});

test('of members of one name the last counts, as in unpacking', async () => {
  const { members } = await indexBytes(
    header('a.mp4', 3),
    padded('old'),
    header('b.mp4', 1),
    padded('b'),
    header('./a.mp4', 5),
    padded('newer'),
    end,
  );
  expect(members).toEqual([
    { name: 'b.mp4', offset: 1536, length: 1 },
    { name: 'a.mp4', offset: 2560, length: 5 },
  ]);
});

test.each(['sparse_gnu', 'sparse_posix'])('%s.tar is refused by name', async (kind) => {
  await expect(index(fixturePath(`archives/${kind}.tar`))).rejects.toEqual(refused(/sparse\.mp4" is sparse/));
});

test('an archive of 100 GB, ustar and pax sizes and binary ones, is listed from its headers alone', async () => {
  const sizes = [7e9, 40e9, 53e9];
  const pax = paxRecord('size', String(sizes[1]));
  const descriptor = openSync(path, 'w');
  let at = 0;
  const put = (block: Buffer) => {
    writeSync(descriptor, block, 0, block.length, at);
    at += block.length;
  };
  const skip = (size: number) => {
    at += Math.ceil(size / 512) * 512;
  };
  put(header('one.mp4', sizes[0]!));
  skip(sizes[0]!);
  put(header('pax', Buffer.byteLength(pax), 'x'));
  put(padded(pax));
  put(header('two.mp4', 0));
  skip(sizes[1]!);
  put(
    header('three.mp4', 0, '0', (block) => {
      block.fill(0, 124, 136);
      block[124] = 0x80;
      block.writeBigUInt64BE(BigInt(sizes[2]!), 128);
    }),
  );
  skip(sizes[2]!);
  put(end);
  truncateSync(path, at);
  const { members, reads } = await index(path);
  expect(members.map(({ name, length }) => [name, length])).toEqual([
    ['one.mp4', sizes[0]],
    ['two.mp4', sizes[1]],
    ['three.mp4', sizes[2]],
  ]);
  expect(reads).toBeLessThan(4096);
});

test('global pax headers hold for all, own ones win; old folders, devices and unknown types are left out', async () => {
  const global = paxRecord('comment', 'packed by hand');
  const own = paxRecord('path', './elsewhere/é.mp4');
  const { members } = await indexBytes(
    header('g', Buffer.byteLength(global), 'g'),
    padded(global),
    header('old folder/', 0),
    header('pipe', 512, '6'),
    header('x', Buffer.byteLength(own), 'x'),
    padded(own),
    header('short.mp4', 3),
    padded('abc'),
    header('volume', 2, 'V'),
    padded('zz'),
    header('/absolute.mp4', 1),
    padded('y'),
    end,
    Buffer.from('what follows the end does not matter'),
  );
  expect(members.map(({ name, length }) => [name, length])).toEqual([
    ['elsewhere/é.mp4', 3],
    ['absolute.mp4', 1],
  ]);
});

test('a global size holds for the members behind it, and an own one wins; contiguous files are files', async () => {
  const [global, own] = [paxRecord('size', '3'), paxRecord('size', '1')];
  const { members } = await indexBytes(
    header('g', Buffer.byteLength(global), 'g'),
    padded(global),
    header('one.mp4', 0),
    padded('abc'),
    header('x', Buffer.byteLength(own), 'x'),
    padded(own),
    header('two.mp4', 0),
    padded('d'),
    header('three.mp4', 0, '7'),
    padded('efg'),
    end,
  );
  expect(members.map(({ name, length }) => [name, length])).toEqual([
    ['one.mp4', 3],
    ['two.mp4', 1],
    ['three.mp4', 3],
  ]);
});

test('links form no circle: they lead to earlier members or nowhere', async () => {
  const link = (name: string, target: string) => header(name, 0, '1', (block) => block.write(target, 157));
  const { members } = await indexBytes(
    link('a', 'b'),
    link('b', 'a'),
    link('c', 'c'),
    header('real.mp4', 1),
    padded('r'),
    link('d', 'real.mp4'),
    link('e', 'd'),
    end,
  );
  expect(members.map(({ name, offset }) => [name, offset])).toEqual([
    ['real.mp4', 2048],
    ['d', 2048],
    ['e', 2048],
  ]);
});

const absurd = 'the (size|checksum) of a header is .*absurd';
test.each<[string, Buffer[], RegExp]>([
  ['nothing', [], /x\.tar: the file is empty/],
  [
    'no tar',
    [Buffer.alloc(600, 'no tar at all ')],
    /checksum of a header .*at 0; the file is damaged or no tar/,
  ],
  ['a gzip file', [Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(600)])], /compressed with gzip/],
  ['a cut header', [header('a', 0), Buffer.alloc(100)], /last header, at 512, is incomplete.*truncated/],
  [
    'contents beyond the end',
    [header('a.mp4', 5000), padded('x')],
    /"a\.mp4" has 5000 bytes, but only 512 follow/,
  ],
  ['a flipped bit', [header('a', 0).fill('b', 0, 1)], /checksum/],
  ['negative octal', [header('a', '-0000000001\0')], /size of a header is "-0000000001", not an octal/],
  ['digits beyond octal', [header('a', '00000000089\0')], /not an octal number/],
  ['a negative binary size', [header('a', '\xff'.repeat(12))], new RegExp(absurd)],
  ['an absurd binary size', [header('a', `\x80${'\x7f'.repeat(11)}`)], new RegExp(absurd)],
  ['an absurd octal size', [header('a', '777777777777')], /has 68719476735 bytes, but only 0 follow/],
  [
    'an absurd long name',
    [header('L', 2 ** 32, 'L')],
    /extension header at 0 has 4294967296 bytes, which is absurd/,
  ],
  ['a cut extension', [header('x', 600, 'x'), padded('x')], /extension header at 0 is incomplete/],
  ['a pax record of length 0', [header('x', 6, 'x'), padded('0 a=b\n')], /pax header is malformed/],
  ['a pax record that is too long', [header('x', 7, 'x'), padded('99 a=b\n')], /pax header is malformed/],
  ['a negative pax size', [header('x', 11, 'x'), padded('11 size=-1\n')], /pax size "-1"/],
  [
    'an absurd pax size',
    [header('x', 26, 'x'), padded('26 size=9999999999999999\n')],
    /pax (size|header is malformed)/,
  ],
])('refuses %s', async (_, blocks, message) => {
  await expect(indexBytes(...blocks)).rejects.toEqual(refused(message));
});

test('a thousand damaged copies are refused with a code or listed within the file, never worse', async () => {
  const sound = readFileSync(fixturePath('archives/gnu.tar'));
  let refusals = 0;
  for (let i = 0; i < 1000; i++) {
    const bytes = Buffer.from(sound);
    for (let k = 0; k <= i % 4; k++)
      bytes[(i * 7919 + k * 104729) % (sound.length - 1024)]! ^= 1 << ((i + k) % 8);
    try {
      const { members } = await indexBytes(i % 10 === 0 ? bytes.subarray(0, (i * 37) % bytes.length) : bytes);
      for (const { offset, length } of members) expect(offset + length).toBeLessThanOrEqual(bytes.length);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_ARCHIVE_FORMAT' });
      refusals++;
    }
  }
  expect(refusals).toBeGreaterThan(100);
});
