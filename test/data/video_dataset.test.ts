import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CodedError } from '../../lib/base/error';
import { inStoredOrder, VideoDataset, VideoSample } from '../../lib/data/video_dataset';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lists-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(text: string, options: { name?: string; numClasses?: number } = {}): Promise<VideoDataset> {
  const path = join(folder, options.name ?? 'list.txt');
  writeFileSync(path, text);
  return VideoDataset.fromList(path, { root: folder, numClasses: options.numClasses });
}

const code = (value: string, message: string | RegExp) =>
  expect.objectContaining({ code: value, message: expect.stringMatching(message) });

test('reads names with spaces, absolute names, CRLF, tabs, a byte order mark and empty lines', async () => {
  const list = await read('\uFEFFa.mp4 0\r\n\r\nmy  best clip (2).mp4\t12\n  /other/b c.mkv 3  \n');
  expect(list.length).toBe(3);
  expect(list.samples.map(({ name, label }) => [name, label])).toEqual([
    ['a.mp4', 0],
    ['my  best clip (2).mp4', 12],
    ['/other/b c.mkv', 3],
  ]);
  expect(list.at(1).source).toEqual({ path: join(folder, 'my  best clip (2).mp4') });
  expect(list.at(2).source).toEqual({ path: '/other/b c.mkv' });
  expect(list.at(1).where).toBe(`${join(folder, 'list.txt')}:3`);
  expect(() => list.at(3)).toThrow(code('ERR_INDEX_RANGE', 'sample 3'));
});

test('reads a JSON list', async () => {
  const list = await read('[{"filename": "a b.mp4", "label": 4}]', { name: 'list.json' });
  expect(list.at(0)).toMatchObject({ name: 'a b.mp4', label: 4 });
});

test.each([
  [
    'no label',
    'a.mp4 0\nb.mp4\n',
    'list.txt',
    'ERR_LIST_FORMAT',
    /list\.txt:2: expected "name label", got "b\.mp4"/,
  ],
  ['a label that is no number', 'a.mp4 x1\n', 'list.txt', 'ERR_LIST_FORMAT', /list\.txt:1: .*"x1"/],
  ['a negative label', 'a.mp4 -1\n', 'list.txt', 'ERR_LIST_FORMAT', /:1: .*"-1"/],
  ['a fraction', 'a.mp4 1.5\n', 'list.txt', 'ERR_LIST_FORMAT', /:1: .*"1\.5"/],
  ['a NUL', 'a\0b.mp4 1\n', 'list.txt', 'ERR_LIST_FORMAT', /:1: expected a file name/],
  [
    'a label beyond the classes',
    'a.mp4 0\nb.mp4 10\n',
    'list.txt',
    'ERR_LABEL_RANGE',
    /:2: label 10 .*10 classes/,
  ],
  ['nothing', '\n \n', 'list.txt', 'ERR_LIST_FORMAT', /no entries/],
  ['broken JSON', '[{', 'list.json', 'ERR_LIST_FORMAT', /list\.json: not valid JSON/],
  ['JSON of another kind', '{}', 'list.json', 'ERR_LIST_FORMAT', /expected an array/],
  ['a JSON entry of another kind', '[null]', 'list.json', 'ERR_LIST_FORMAT', /list\.json\[0\]/],
])('refuses %s', async (_, text, name, wanted, message) => {
  await expect(read(text, { name, numClasses: 10 })).rejects.toEqual(code(wanted, message));
});

test('a missing list, an unreadable list and a missing root are named', async () => {
  const path = join(folder, 'none.txt');
  const open = (list: string, root: string) => VideoDataset.fromList(list, { root });
  await expect(open(path, folder)).rejects.toEqual(code('ERR_FILE_NOT_FOUND', 'none.txt: the list'));
  await expect(open(folder, folder)).rejects.toEqual(code('ERR_FILE_READ', 'it is a folder'));
  await expect(open(path, join(folder, 'gone'))).rejects.toEqual(
    code('ERR_FILE_NOT_FOUND', 'gone: the folder'),
  );
});

test('work on all samples follows the archives; what is in no archive, or not there, comes first', () => {
  const store = {
    describe: (name: string) => name,
    locate: (name: string) => {
      if (name === 'gone') throw new CodedError('ERR_FILE_NOT_FOUND', 'gone');
      const [path = '', offset] = name.split('@');
      return offset === undefined ? { path } : { path, offset: Number(offset), length: 1 };
    },
  };
  const names = ['b.tar@512', 'a.tar@4096', 'z.mp4', 'a.tar@512', 'gone', 'a.mp4', 'b.tar@0'];
  const samples = names.map((name) => new VideoSample(name, [0], name, store));
  expect(inStoredOrder(samples).map(({ name }) => name)).toEqual([
    ...['z.mp4', 'gone', 'a.mp4'],
    ...['a.tar@512', 'a.tar@4096', 'b.tar@0', 'b.tar@512'],
  ]);
});
