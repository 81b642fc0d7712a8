import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packDataset } from '../../lib/data/pack';
import { openStore } from '../../lib/data/sources/store';
import { TarWriter } from '../../lib/data/sources/tar_writer';
import { VideoDataset } from '../../lib/data/video_dataset';
import { VideoReader } from '../../lib/data/video_reader';
import { writeAtomically } from '../../lib/io';
import { numbersIn } from '../support/video';
import { makeVideoFolder, type VideoFolder } from '../support/video_folder';

const longName = `${'a long folder name/'.repeat(6)}é 日本.mp4`;
const files = [
  ['a b.mp4', 3],
  ['c/d.mp4', 0],
  [longName, 1],
] as const;
let folder: VideoFolder;
let dataset: VideoDataset;
beforeAll(async () => {
  folder = await makeVideoFolder(files);
  dataset = await VideoDataset.fromList(folder.list, { root: folder.videos });
});
afterAll(() => folder.remove());

async function firstNumbers(packed: VideoDataset): Promise<number[]> {
  const numbers: number[] = [];
  for (const { source } of packed.samples) {
    using video = await VideoReader.open(source);
    numbers.push(...numbersIn(await video.get(3), 64, 48));
  }
  return numbers;
}

test('an archive takes the place of the folder, and of the list', async () => {
  const output = join(folder.root, 'out/all.tar');
  expect(await packDataset(dataset, { output })).toEqual([
    { path: output, videos: 3, bytes: expect.any(Number) },
  ]);
  const asRoot = await VideoDataset.fromList(folder.list, { root: output });
  expect(await firstNumbers(asRoot)).toEqual([3, 23, 43]);
  const asList = await VideoDataset.fromList(output, { root: '' });
  expect(asList.samples.map(({ name, label }) => [name, label])).toEqual(files);
  expect(await firstNumbers(asList)).toEqual([3, 23, 43]);
});

test('shards hold the list in order, and pack again from shards to the same bytes', async () => {
  const output = join(folder.root, 'shards/train.tar');
  const shards = await packDataset(dataset, { output, shardBytes: 1 });
  expect(readdirSync(join(folder.root, 'shards')).sort()).toEqual([
    'train-000000.tar',
    'train-000001.tar',
    'train-000002.tar',
  ]);
  const pattern = join(folder.root, 'shards/train-{000000..000002}.tar');
  const again = await VideoDataset.fromList(pattern, { root: '' });
  expect(again.samples.map(({ name }) => name)).toEqual(files.map(([name]) => name));
  await packDataset(again, { output: join(folder.root, 'again/train.tar'), shardBytes: 1 });
  for (const { path } of shards) {
    expect(readFileSync(path.replace('shards', 'again')).equals(readFileSync(path))).toBe(true);
  }
});

test('other programs read the archive', async () => {
  const output = join(folder.root, 'out/tar.tar');
  await packDataset(dataset, { output });
  const listed = execFileSync('tar', ['--quoting-style=literal', '-tf', output], { encoding: 'utf8' });
  expect(listed.trim().split('\n')).toEqual(files.flatMap(([name]) => [name, name.replace('.mp4', '.cls')]));
  expect(
    execFileSync('tar', ['-xOf', output, longName]).equals(readFileSync(join(folder.videos, longName))),
  ).toBe(true);
});

test.each([
  ['/etc/x.mp4 0', 'must be a plain path'],
  ['../x.mp4 0', 'must be a plain path'],
  ['a//b.mp4 0', 'must be a plain path'],
  ['a b.mp4 0\nc/d.mp4 0\na b.mp4 0', 'bad.txt:3: "a b.mp4" is also in '],
  ['a b.mp4 0\na b.webm 1', 'differ only behind the first dot'],
])('refuses %j', async (text, message) => {
  const list = join(folder.root, 'bad.txt');
  writeFileSync(list, text);
  const bad = await VideoDataset.fromList(list, { root: folder.videos });
  const output = join(folder.root, 'bad.tar');
  await expect(packDataset(bad, { output })).rejects.toMatchObject({
    code: 'ERR_LIST_FORMAT',
    message: expect.stringContaining(message),
  });
});

test('a named pipe or a folder in the place of a video is refused, and not waited for', async () => {
  execFileSync('mkfifo', [join(folder.videos, 'pipe.mp4')]);
  mkdirSync(join(folder.videos, 'folder.mp4'));
  for (const name of ['pipe.mp4', 'folder.mp4']) {
    const list = join(folder.root, 'odd.txt');
    writeFileSync(list, `${name} 0\n`);
    const odd = await VideoDataset.fromList(list, { root: folder.videos });
    await expect(packDataset(odd, { output: join(folder.root, 'odd.tar') })).rejects.toMatchObject({
      code: 'ERR_FILE_READ',
      message: expect.stringContaining(`${name} is not a regular file`),
    });
  }
});

test.each([0, Number.NaN])('shards of %p bytes are refused', async (shardBytes) => {
  const run = packDataset(dataset, { output: join(folder.root, 'none.tar'), shardBytes });
  await expect(run).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
});

test('a video that is not there leaves no archive', async () => {
  const list = join(folder.root, 'gone.txt');
  writeFileSync(list, 'a b.mp4 0\ngone.mp4 1\n');
  const bad = await VideoDataset.fromList(list, { root: folder.videos });
  const output = join(folder.root, 'gone/gone.tar');
  await expect(packDataset(bad, { output })).rejects.toMatchObject({
    code: 'ERR_FILE_NOT_FOUND',
    message: expect.stringMatching(/^\S+:\d+: .* does not exist$/),
  });
  expect(readdirSync(join(folder.root, 'gone'))).toEqual([]);
});

test('sizes beyond octal digits go into a pax record; a size that lies is an error', async () => {
  const path = join(folder.root, 'big.tar');
  const nothing = (async function* (): AsyncGenerator<Uint8Array> {})();
  const big = writeAtomically(path, 0, async (file) => {
    await new TarWriter(file).add('big.mp4', 2 ** 40, nothing).catch(async (error) => {
      expect(error).toMatchObject({
        code: 'ERR_FILE_READ',
        message: expect.stringContaining('0 of 1099511627776'),
      });
      await new TarWriter(file).end();
    });
  });
  await big;
  expect(readFileSync(path).toString('latin1', 512, 534)).toMatch(/^22 size=1099511627776\n/);
  await expect(openStore(path)).rejects.toMatchObject({ code: 'ERR_ARCHIVE_FORMAT' });
});

test('an output that no reader would know, or that the videos come from, is refused before anything is written', async () => {
  const refused = (message: RegExp) => ({ code: 'ERR_ARGUMENT', message: expect.stringMatching(message) });
  const place = join(folder.root, 'refused');
  await expect(packDataset(dataset, { output: join(place, 'x.zip') })).rejects.toMatchObject(
    refused(/x\.zip must end in \.tar/),
  );
  expect(readdirSync(folder.root)).not.toContain('refused');
  const output = join(place, 'x.tar');
  await packDataset(dataset, { output });
  const whole = await VideoDataset.fromList(output, {});
  await expect(packDataset(whole, { output })).rejects.toMatchObject(
    refused(/x\.tar has videos of the list/),
  );
  const [shard] = await packDataset(whole, { output, shardBytes: 1e9 });
  const bytes = readFileSync(shard!.path);
  // The second new shard would hold what stands in the first old one no more.
  const shards = await VideoDataset.fromList(shard!.path, {});
  await expect(packDataset(shards, { output, shardBytes: 1 })).rejects.toMatchObject(
    refused(
      /x-000000\.tar has videos of the list \(.*a b\.mp4\) and could be written over; name another output$/,
    ),
  );
  expect(readFileSync(shard!.path)).toEqual(bytes);
  await packDataset(shards, { output: join(place, 'y.tar'), shardBytes: 1 });
});
