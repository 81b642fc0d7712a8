import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readLabels } from '../../lib/data/labels';
import { readFixture } from '../support/fixture';

const folder = mkdtempSync(join(tmpdir(), 'labels-'));
afterAll(() => rmSync(folder, { recursive: true }));

function table(content: string): string {
  const path = join(folder, 'table.csv');
  writeFileSync(path, content);
  return path;
}

describe('shipped tables', () => {
  const { labels } = readFixture<{ labels: Record<string, [string, number[]][]> }>('golden/tokens.json');

  test.each(Object.keys(labels))('%s has the names of the reference in its order', (name) => {
    expect(readLabels(`labels/${name}_labels.csv`)).toEqual(labels[name]!.map(([label]) => label));
  });

  test('are found in any folder', () => {
    const before = process.cwd();
    process.chdir(folder);
    try {
      expect(readLabels('labels/ucf_101_labels.csv').length).toBe(101);
    } finally {
      process.chdir(before);
    }
  });
});

describe('tables', () => {
  test('give names in the order of their ids', () => {
    expect(readLabels(table('\ufeffid,name\r\n2, c \r\n0,a\r\n\r\n1,b\r\n'))).toEqual(['a', 'b', 'c']);
  });

  test('keep None, NA and quoted commas and quotation marks', () => {
    const path = table('id,name\n0,None\n1,NA\n2,"jump, then ""roll"""\n3,5" step\n');
    expect(readLabels(path)).toEqual(['None', 'NA', 'jump, then "roll"', '5" step']);
  });

  test.each([
    ['no header', '0,a\n', 'csv:1: expected the header'],
    ['no rows', 'id,name\n', 'no rows'],
    ['empty file', '', 'csv:1: expected the header'],
    ['duplicate id', 'id,name\n0,a\n1,b\n0,c\n', 'csv:4: id 0 is also on line 2'],
    ['duplicate name', 'id,name\n0,a\n1,b\n2, a\n', 'csv:4: the name "a" is also on line 2'],
    ['missing id', 'id,name\n0,a\n2,b\n', 'id 1 is missing'],
    ['too many cells', 'id,name\n0,a,b\n', 'csv:2: expected "id,name"'],
    ['too few cells', 'id,name\n0\n', 'csv:2'],
    ['negative id', 'id,name\n-1,a\n', 'csv:2'],
    ['no name', 'id,name\n0, \n', 'csv:2'],
    ['open quote', 'id,name\n0,"a\n', 'csv:2'],
  ])('with %s are refused', (_, content, message) => {
    expect(() => readLabels(table(content))).toThrow(
      expect.objectContaining({ code: 'ERR_LABELS', message: expect.stringContaining(message) }),
    );
  });

  test('that do not exist or are folders', () => {
    expect(() => readLabels('nowhere/labels.csv')).toThrow(
      expect.objectContaining({ code: 'ERR_FILE_NOT_FOUND' }),
    );
    for (const name of ['missing.csv', 'missing.txt', 'missing.tsv', 'missing.JSON'])
      expect(() => readLabels(name)).toThrow(expect.objectContaining({ code: 'ERR_FILE_NOT_FOUND' }));
    expect(() => readLabels(folder)).toThrow(expect.objectContaining({ code: 'ERR_FILE_READ' }));
  });
});

describe('names in line', () => {
  test.each([
    ['arm wrestling, flipping pancake', ['arm wrestling', 'flipping pancake']],
    ['zumba', ['zumba']],
    ['"jump, roll",None', ['jump, roll', 'None']],
    ['yoga/pilates, tai chi', ['yoga/pilates', 'tai chi']],
  ])('%s', (source, names) => expect(readLabels(source)).toEqual(names));

  test('may be more than a path can hold', () => {
    const names = Array.from({ length: 600 }, (_, i) => `class ${i}`);
    expect(readLabels(names.join(', '))).toEqual(names);
    expect(readLabels('n'.repeat(300))).toEqual(['n'.repeat(300)]);
  });

  test('that two classes have are refused with both places', () => {
    expect(() => readLabels('a,b, a')).toThrow(
      expect.objectContaining({ code: 'ERR_LABELS', message: 'labels: class names 0 and 2 are both "a"' }),
    );
  });

  test.each(['', ' ', 'a,,b', 'a,', '"a,b'])('%j is refused', (source) => {
    expect(() => readLabels(source)).toThrow(expect.objectContaining({ code: 'ERR_LABELS' }));
  });
});
