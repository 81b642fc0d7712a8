import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readArchiveIndex } from '../../../lib/data/sources/archive_index';
import { expandBraces } from '../../../lib/data/sources/brace_pattern';
import { sampleKey } from '../../../lib/data/sources/labelled_shards';
import { openStore, type Source } from '../../../lib/data/sources/store';
import { VideoDataset } from '../../../lib/data/video_dataset';
import { fixturePath } from '../../support/fixture';
import { makeTar } from '../../support/tar';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'store-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function put(name: string, contents: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

function contentsOf({ path, offset = 0, length }: Source): string {
  const bytes = readFileSync(path);
  return bytes.toString('utf8', offset, offset + (length ?? bytes.length));
}

const coded = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

test.each(['gnu.tar', 'posix.tar', 'stored.zip', 'stored_zip64.zip'])(
  'members of %s are byte ranges',
  async (name) => {
    const path = join(folder, name);
    copyFileSync(fixturePath(`archives/${name}`), path);
    const store = await openStore(path);
    expect(contentsOf(store.locate('class one/b c.mp4'))).toBe('x'.repeat(700));
    expect(contentsOf(store.locate('./a.mp4'))).toBe('first');
    // The last part of a path is enough where it is unique, also under another folder, as in the reference.
    expect(contentsOf(store.locate('b c.mp4'))).toBe('x'.repeat(700));
    expect(contentsOf(store.locate('/data/videos/clip é 日.mp4'))).toBe('long name');
    expect(() => store.locate('z.mp4')).toThrow(
      coded('ERR_FILE_NOT_FOUND', /\.(tar|zip): there is no member "z\.mp4"/),
    );
    expect(store.describe('a.mp4')).toBe(`${path}: a.mp4`);
    expect(await store.names()).toContain('class one/b c.mp4');
  },
);

test('a name that several members could be meant by is refused, its whole path is not', async () => {
  const path = put('x.tar', makeTar({ 'one/a.mp4': '1', 'two/a.mp4': '2', 'same.mp4': '3' }));
  const store = await openStore(path);
  expect(contentsOf(store.locate('two/a.mp4'))).toBe('2');
  expect(() => store.locate('a.mp4')).toThrow(
    coded('ERR_LIST_FORMAT', /2 members .*one\/a\.mp4.*two\/a\.mp4/),
  );
});

test('a folder is listed with what links in it lead to, in no circle and nowhere else', async () => {
  mkdirSync(join(folder, 'root/one/two'), { recursive: true });
  mkdirSync(join(folder, 'disk'));
  put('disk/linked.mp4', 'L');
  put('root/one/two/b.mp4', 'B');
  put('root/é ü.mp4', 'É');
  symlinkSync(join(folder, 'disk'), join(folder, 'root/one/class'));
  symlinkSync('../../disk/linked.mp4', join(folder, 'root/one/file.mp4'));
  symlinkSync('..', join(folder, 'root/one/circle'));
  symlinkSync('gone.mp4', join(folder, 'root/broken.mp4'));
  symlinkSync('itself', join(folder, 'root/itself'));
  symlinkSync('root', join(folder, 'also'));
  const names = ['one/class/linked.mp4', 'one/file.mp4', 'one/two/b.mp4', 'é ü.mp4'];
  for (const root of ['root', 'also']) {
    const store = await openStore(join(folder, root));
    expect(await store.names()).toEqual(names);
    expect(names.map((name) => contentsOf(store.locate(name)))).toEqual(['L', 'L', 'B', 'É']);
  }
});

test('compressed entries and damaged zips are refused by name', async () => {
  copyFileSync(fixturePath('archives/compressed.zip'), join(folder, 'c.zip'));
  await expect(openStore(join(folder, 'c.zip'))).rejects.toEqual(
    coded('ERR_ARCHIVE_FORMAT', /c\.zip: entry "b c\.mp4" is compressed/),
  );
  const bytes = readFileSync(fixturePath('archives/stored.zip'));
  for (const length of [0, 10, 700, bytes.length - 1]) {
    const path = put('cut.zip', bytes.subarray(0, length));
    await expect(openStore(path)).rejects.toEqual(coded('ERR_ARCHIVE_FORMAT', /cut\.zip/));
  }
});

test('the index is kept beside the archive, used again, and made anew when the archive changes', async () => {
  const path = put('x.tar', makeTar({ 'a.mp4': 'aaa' }));
  const kept = `${path}.index.json`;
  const first = await readArchiveIndex(path);
  expect(first).toEqual([{ name: 'a.mp4', offset: 512, length: 3 }]);
  expect(existsSync(kept)).toBe(true);
  // A mark in the kept index shows that it is what is read.
  writeFileSync(kept, readFileSync(kept, 'utf8').replace('a.mp4', 'b.mp4'));
  expect((await readArchiveIndex(path))[0]!.name).toBe('b.mp4');
  const { atime, mtime } = statSync(path);
  utimesSync(path, atime, new Date(mtime.getTime() + 1000));
  expect((await readArchiveIndex(path))[0]!.name).toBe('a.mp4');
  put('x.tar', makeTar({ 'a.mp4': 'aaa', 'c.mp4': 'c' }));
  utimesSync(path, atime, new Date(mtime.getTime() + 1000));
  expect(await readArchiveIndex(path)).toHaveLength(2);
});

test.each([
  'not JSON',
  'null',
  '{"version":1}',
  '{"version":1,"size":SIZE,"mtimeMs":TIME,"members":[["a.mp4",0,99999]]}',
  '{"version":1,"size":SIZE,"mtimeMs":TIME,"members":[["a.mp4",-5,3]]}',
  '{"version":1,"size":SIZE,"mtimeMs":TIME,"members":[[1,2,3]]}',
  '{"version":1,"size":SIZE,"mtimeMs":TIME,"members":[null]}',
  '{"version":0,"size":SIZE,"mtimeMs":TIME,"members":[]}',
])('a kept index that is damaged or lies is made anew: %s', async (text) => {
  const path = put('x.tar', makeTar({ 'a.mp4': 'aaa' }));
  const { size, mtimeMs } = statSync(path);
  put('x.tar.index.json', text.replace('SIZE', String(size)).replace('TIME', String(mtimeMs)));
  expect(await readArchiveIndex(path)).toEqual([{ name: 'a.mp4', offset: 512, length: 3 }]);
});

test('where the index cannot be kept it is made each time', async () => {
  const path = put('x.tar', makeTar({ 'a.mp4': 'aaa' }));
  mkdirSync(`${path}.index.json`); // nothing can be renamed over a folder
  for (let i = 0; i < 2; i++) expect(await readArchiveIndex(path)).toHaveLength(1);
});

test.each(['gnu.tar', 'stored.zip'])(
  'the first listing of %s tells how far it is, once; stopped in its middle, it leaves nothing',
  async (name) => {
    const path = put(name, readFileSync(fixturePath(`archives/${name}`)));
    const total = statSync(path).size;
    const clock = jest.spyOn(performance, 'now');
    let time = 0;
    clock.mockImplementation(() => (time += 1000)); // every member is due for a report
    try {
      const stop = new AbortController();
      const seen: number[] = [];
      const stopped = readArchiveIndex(path, {
        signal: stop.signal,
        onListing: (_, done) => {
          if (done > 0) stop.abort();
        },
      });
      await expect(stopped).rejects.toMatchObject({ code: 'ERR_ABORTED' });
      expect(readdirSync(folder)).toEqual([name]);
      const onListing = (archive: string, done: number, of: number) => {
        expect([archive, of]).toEqual([path, total]);
        seen.push(done);
      };
      const members = await readArchiveIndex(path, { onListing });
      expect(seen[0]).toBe(0);
      expect(seen.at(-1)).toBe(total);
      expect(seen.length).toBeGreaterThan(3);
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
      seen.length = 0;
      expect(await readArchiveIndex(path, { onListing })).toEqual(members);
      expect(seen).toEqual([]);
    } finally {
      clock.mockRestore();
    }
  },
);

test('ranges of shards', async () => {
  expect(expandBraces('t-{08..11}.tar')).toEqual(['t-08.tar', 't-09.tar', 't-10.tar', 't-11.tar']);
  expect(expandBraces('{8..10}')).toEqual(['8', '9', '10']);
  expect(expandBraces('{0..1}/{2..3}')).toEqual(['0/2', '0/3', '1/2', '1/3']);
  expect(() => expandBraces('{3..1}')).toThrow(coded('ERR_ARGUMENT', /\{3\.\.1\} is not an ascending/));
  expect(() => expandBraces('{0..9999}{0..9999}')).toThrow(coded('ERR_ARGUMENT', /at most 1000000/));
  put('s-00.tar', makeTar({ '0001.mp4': 'one' }));
  put('s-01.tar', makeTar({ '0002.mp4': 'two' }));
  const store = await openStore(join(folder, 's-{00..01}.tar'));
  expect(contentsOf(store.locate('0002.mp4'))).toBe('two');
  await expect(openStore(join(folder, 's-{00..02}.tar'))).rejects.toEqual(
    coded('ERR_FILE_NOT_FOUND', /s-02\.tar/),
  );
  // An archive of that very name is meant itself.
  const braces = await openStore(put('s-{00..02}.tar', makeTar({ '0003.mp4': 'three' })));
  expect(await braces.names()).toEqual(['0003.mp4']);
});

test('the files of a sample share their name up to its first dot, one at its beginning apart', () => {
  const keys = ['x.y/01.seg.mp4', '01.cls', '.a.mp4', '.b', 'plain'].map(sampleKey);
  expect(keys).toEqual(['x.y/01', '01', '.a', '.b', 'plain']);
});

test('labelled shards need no list', async () => {
  put(
    's-0.tar',
    makeTar({ 'x/01.mp4': 'one', 'x/01.cls': '3\n', 'x/02.webm': 'two', 'x/02.json': '{"label": 1}' }),
  );
  put('s-1.tar', makeTar({ '03.seg.avi': 'three', '03.json': '0' }));
  const pattern = join(folder, 's-{0..1}.tar');
  const dataset = await VideoDataset.fromList(pattern, { root: 'unused', numClasses: 4 });
  expect(dataset.samples.map(({ name, label, source }) => [name, label, contentsOf(source)])).toEqual([
    ['x/01.mp4', 3, 'one'],
    ['x/02.webm', 1, 'two'],
    ['03.seg.avi', 0, 'three'],
  ]);
  expect(dataset.at(2).where).toBe(`${join(folder, 's-1.tar')}: 03.seg.avi`);
  const open = (numClasses?: number) => VideoDataset.fromList(pattern, { root: '', numClasses });
  await expect(open(3)).rejects.toEqual(coded('ERR_LABEL_RANGE', /s-0\.tar: x\/01\.mp4: label 3/));
  // Where there are both, .json says what else is known.
  put('s-1.tar', makeTar({ '03.avi': 'three', '03.cls': '2', '03.json': '{"seconds": 10}' }));
  expect((await open()).at(2).label).toBe(2);
  put('s-1.tar', makeTar({ '03.avi': 'three' }));
  await expect(open()).rejects.toEqual(
    coded('ERR_LIST_FORMAT', /s-1\.tar: 03\.avi: there is no \.cls or \.json/),
  );
  put('s-1.tar', makeTar({ '03.avi': 'three', '03.cls': 'zumba' }));
  await expect(open()).rejects.toEqual(coded('ERR_LIST_FORMAT', /03\.avi: expected a label .*"zumba"/));
  put('s-1.tar', makeTar({ '03.avi': 'three', '03.json': '{' }));
  await expect(open()).rejects.toEqual(coded('ERR_LIST_FORMAT', /"03\.json" is not valid JSON/));
  put('s-1.tar', makeTar({ '03.avi': 'three', '03.cls': ' '.repeat(2 ** 21) }));
  await expect(open()).rejects.toEqual(coded('ERR_LIST_FORMAT', /"03\.cls" has 2097152 bytes/));
});

test('labels of shards are read once and kept beside them', async () => {
  const path = put(
    'k.tar',
    makeTar({ '1.mp4': 'one', '1.cls': '3', '2.mp4': 'two', '2.json': '{"label": [0, 2]}' }),
  );
  const kept = `${path}.labels.json`;
  const labels = async () => (await VideoDataset.fromList(path, {})).samples.map((s) => s.labels);
  expect(await labels()).toEqual([[3], [0, 2]]);
  const text = readFileSync(kept, 'utf8');
  expect(JSON.parse(text).labels).toEqual([
    ['1.mp4', '3'],
    ['2.mp4', [0, 2]],
  ]);
  // They are read from there, and not when they are of other videos or no labels at all.
  writeFileSync(kept, text.replace('"3"', '"5"'));
  expect(await labels()).toEqual([[5], [0, 2]]);
  const others = [
    text.replace('1.mp4', '4.mp4'),
    text.replace(',["2.mp4",[0,2]]', ''),
    '{"labels":[]}',
    'null',
    '{',
  ];
  for (const other of others) {
    expect(other).not.toBe(text);
    writeFileSync(kept, other);
    expect(await labels()).toEqual([[3], [0, 2]]);
    expect(readFileSync(kept, 'utf8')).toBe(text);
  }
  // Another archive in its place has labels of its own.
  put('k.tar', makeTar({ '1.mp4': 'one', '1.cls': '7', '2.mp4': 'two', '2.json': '{"label": [0, 2]}' }));
  utimesSync(path, 1e9, 1e9);
  expect(await labels()).toEqual([[7], [0, 2]]);
  // What cannot be kept is read each time.
  rmSync(kept);
  mkdirSync(kept);
  expect(await labels()).toEqual([[7], [0, 2]]);
});

test('a list over an archive, and a folder whose name ends like one', async () => {
  const archive = put('v.tar', makeTar({ 'c/a b.mp4': 'A', 'd.mp4': 'D' }));
  const list = put('list.txt', 'a b.mp4 1\nmissing.mp4 0\nd.mp4 0\n');
  await expect(VideoDataset.fromList(list, {})).rejects.toEqual(
    coded('ERR_ARGUMENT', /list\.txt: name the folder/),
  );
  const dataset = await VideoDataset.fromList(list, { root: archive });
  expect(contentsOf(dataset.at(0).source)).toBe('A');
  expect(dataset.at(0).location).toBe(`${archive}: a b.mp4`);
  expect(() => dataset.at(1).source).toThrow(
    coded('ERR_FILE_NOT_FOUND', /v\.tar: there is no member "missing\.mp4"/),
  );
  mkdirSync(join(folder, 'odd.tar'));
  put('odd.tar/d.mp4', 'inside');
  const odd = await openStore(join(folder, 'odd.tar'));
  expect(contentsOf(odd.locate('d.mp4'))).toBe('inside');
  expect(await odd.names()).toEqual(['d.mp4']);
});

test('a root that cannot be looked at is not called missing', async () => {
  symlinkSync('loop', join(folder, 'loop'));
  await expect(openStore(join(folder, 'loop'))).rejects.toEqual(
    coded('ERR_FILE_READ', /loop cannot be read: .*\(ELOOP\)/),
  );
  await expect(openStore(join(folder, 'gone'))).rejects.toEqual(
    coded('ERR_FILE_NOT_FOUND', /gone: the folder of the videos does not exist/),
  );
  put('videos.mp4', 'a file');
  await expect(openStore(join(folder, 'videos.mp4'))).rejects.toEqual(
    coded('ERR_FILE_READ', /videos\.mp4 is neither a folder nor a \.tar or \.zip archive/),
  );
});
