import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readLabels } from '../../lib/data/labels';
import { readList } from '../../lib/data/list_file';

// Class tables and lists in other encodings are refused, with the line: a wrong letter would be another class, or a
// video that does not exist.
const folder = mkdtempSync(join(tmpdir(), 'encodings-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const list = 'plain.mp4 0\ncafé.mp4 1\n';
const table = 'id,name\n0,plain\n1,café\n';

test.each([
  ['Latin-1', 'latin1', 2, 3],
  ['UTF-16', 'utf16le', 1, 1],
] as const)('%s', async (_, encoding, listLine, tableLine) => {
  // A file in UTF-16 begins with a byte order mark; written out in Latin-1 it would be two letters.
  const encoded = (text: string) => Buffer.from(encoding === 'utf16le' ? `\ufeff${text}` : text, encoding);
  await expect(readList(file('list.txt', encoded(list)))).rejects.toMatchObject({
    code: 'ERR_LIST_FORMAT',
    message: expect.stringContaining(`list.txt:${listLine}: not UTF-8 text`),
  });
  expect(() => readLabels(file('table.csv', encoded(table)))).toThrow(
    expect.objectContaining({
      code: 'ERR_LABELS',
      message: expect.stringContaining(`table.csv:${tableLine}: not UTF-8 text`),
    }),
  );
});

test('UTF-8, with or without a byte order mark', async () => {
  for (const mark of ['', '\ufeff']) {
    expect(await readList(file('list.txt', Buffer.from(mark + list)))).toMatchObject([
      { name: 'plain.mp4' },
      { name: 'café.mp4' },
    ]);
    expect(readLabels(file('table.csv', Buffer.from(mark + table)))).toEqual(['plain', 'café']);
  }
});
