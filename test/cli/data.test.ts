import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { createProgram } from '../../lib/cli/main';
import { formatList, readList } from '../../lib/data/list_file';
import { fewShot } from '../../lib/data/prepare/few_shot';
import * as caching from '../../lib/data/short_gop_cache';
import { cachedName } from '../../lib/data/short_gop_cache';
import * as verifying from '../../lib/data/verify';
import { VideoReader } from '../../lib/data/video_reader';
import { runCli } from '../support/built_cli';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
let videos: string;
let train: string;
beforeAll(async () => {
  tiny = await makeTinyRun();
  videos = join(tiny.root, 'videos');
  train = join(tiny.root, 'train.txt');
});
afterAll(() => tiny.remove());

const at = (name: string) => join(tiny.root, name);

test('prepare and few-shot write lists and say what is in them', async () => {
  mkdirSync(at('splits'));
  const [name] = tiny.names as [string];
  for (const n of [1, 2, 3]) {
    writeFileSync(
      at(`splits/${name.replaceAll(' ', '_')}_test_split${n}.txt`),
      `${name} 0.mp4 1\n${name} 1.mp4 2\nx.avi 2\n`,
    );
  }
  writeFileSync(at('one.csv'), `id,name\n0,${name}\n`);
  const words = [
    '--root',
    videos,
    '--annotations',
    at('splits'),
    '--output',
    at('lists'),
    '--labels',
    at('one.csv'),
  ];
  const prepared = await runCli(['data', 'prepare', 'hmdb51', ...words]);
  expect(prepared).toMatchObject({ status: 0, stderr: '' });
  expect(prepared.stdout.split('\n')[1]).toBe(
    `${at('lists/val_split1.txt')}: 1 videos of 1 classes, 1 more are missing`,
  );

  const few = await runCli(['data', 'few-shot', train, '--k', '2', '--seed', '4', '--output', at('few.txt')]);
  expect(few.stdout).toBe(`${at('few.txt')}: 6 videos, 2 of each of 3 classes\n`);
  const drawn = async (seed: number) => formatList(fewShot(await readList(train), 2, seed));
  expect(readFileSync(at('few.txt'), 'utf8')).toBe(await drawn(4));
  expect(await drawn(4)).not.toBe(await drawn(0));
  const refused = await runCli(['data', 'few-shot', train, '--k', '16', '--output', at('no.txt')]);
  expect(refused).toMatchObject({ status: 1, stdout: '' });
  expect(refused.stderr).toMatch(/^error ERR_LIST_FORMAT: class 0 has 3 videos, fewer than k = 16\n$/);
});

test('what is read is not written over, and a report has a place before work begins', async () => {
  const before = readFileSync(train, 'utf8');
  const refused = async (...words: string[]) => {
    const { status, stdout, stderr } = await runCli(['data', ...words]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    return stderr;
  };
  const readAndWritten =
    /^error ERR_ARGUMENT: \S*train\.txt is what is read, and would be written over; name another file\n$/;
  expect(await refused('few-shot', train, '--k', '1', '--output', train)).toMatch(readAndWritten);
  expect(await refused('verify', train, '--root', videos, '--report', train)).toMatch(readAndWritten);
  expect(await refused('cache', train, '--root', videos, '--output', dirname(train))).toMatch(readAndWritten);
  expect(readFileSync(train, 'utf8')).toBe(before);
  expect(await refused('verify', train, '--root', videos, '--report', videos)).toMatch(
    /^error ERR_FILE_WRITE: \S* is a folder; name a file for the report\n$/,
  );
  expect(await refused('cache', train, '--root', videos, '--output', at('no'), '--gop', '601')).toMatch(
    /^error ERR_USAGE: .*'601' is invalid: expected a whole number from 1 to 600;/,
  );
});

test('verify: status 0 for sound videos, 1 for bad ones, which the report names', async () => {
  const sound = await runCli(['data', 'verify', train, '--root', videos, '--report', at('sound.json')]);
  expect(sound).toMatchObject({
    status: 0,
    stdout: `${at('sound.json')}: 9 videos, 90 frames decoded, 0 bad\n`,
  });
  expect(JSON.parse(readFileSync(at('sound.json'), 'utf8'))).toEqual({
    ...{ list: train, root: videos, videos: 9, frames: 90, bad: [] },
  });
  writeFileSync(join(videos, 'text.mp4'), 'no video');
  writeFileSync(at('bad.txt'), `text.mp4 0\n`);
  const bad = await runCli(['data', 'verify', at('bad.txt'), '--root', videos, '--report', at('bad.json')]);
  expect(bad.status).toBe(1);
  expect(bad.stderr).toMatch(/^ERR_VIDEO_FORMAT: \S*bad\.txt:1: \S*text\.mp4: not a video file/);
  const copies = ['--root', videos, '--output', at('none')];
  expect(await runCli(['data', 'cache', at('bad.txt'), ...copies])).toMatchObject({
    status: 1,
    stderr: bad.stderr,
  });
  expect(JSON.parse(readFileSync(at('bad.json'), 'utf8')).bad).toMatchObject([
    { name: 'text.mp4', frame: null },
  ]);
  expect(existsSync(at('bad.json.partial'))).toBe(false);
});

test('what verify and cache are told is passed on, and a journal is of one list under one root', async () => {
  const verify = jest.spyOn(verifying, 'verifyDataset').mockResolvedValue({ videos: 0, frames: 0, bad: [] });
  const cache = jest
    .spyOn(caching, 'cacheDataset')
    .mockResolvedValue({ list: 'list.txt', entries: [], failed: [] } as never);
  jest.spyOn(process.stdout, 'write').mockImplementation(() => true);
  const run = (...words: string[]) => createProgram().parseAsync(['data', ...words], { from: 'user' });
  const subject = async (root: string) => {
    await run('verify', train, '--root', root, '--report', at('told.json'), '--deadline', '7');
    const [, options] = verify.mock.lastCall!;
    expect(options).toMatchObject({ deadlineMs: 7000, journal: at('told.json.partial') });
    return options.subject;
  };
  expect(await subject(videos)).toBe(await subject(relative('', videos)));
  expect(await subject(videos)).not.toBe(await subject(tiny.root));
  await run('cache', train, '--root', videos, '--output', at('told'), '--quality', '9');
  expect(cache.mock.lastCall![1].settings).toEqual({ shortSide: 256, gop: 12, quality: 9 });
  jest.restoreAllMocks();
});

test('pack begins a new archive where one is as large as it is told', async () => {
  for (const name of ['a.mp4', 'b.mp4']) writeFileSync(join(videos, name), Buffer.alloc(1.1e6));
  writeFileSync(at('large.txt'), 'a.mp4 0\nb.mp4 1\n');
  const words = ['--root', videos, '--output', at('large.tar'), '--shard-megabytes', '1'];
  const { stdout } = await runCli(['data', 'pack', at('large.txt'), ...words]);
  expect(stdout).toBe([0, 1].map((n) => `${at(`large-00000${n}.tar`)}: 1 videos, 1.1 MB\n`).join(''));
});

test('pack, cache and show', async () => {
  const packed = await runCli(['data', 'pack', train, '--root', videos, '--output', at('train.tar')]);
  expect(packed.stdout).toMatch(/train\.tar: 9 videos, 0\.\d MB\n$/);
  // It stands for the list as well, and then there is no root to name.
  const alone = await runCli(['data', 'verify', at('train.tar'), '--report', at('tar.json')]);
  expect(alone).toMatchObject({ status: 0, stderr: '' });
  expect(JSON.parse(readFileSync(at('tar.json'), 'utf8'))).toMatchObject({ root: null, videos: 9, bad: [] });
  const rootless = await runCli(['data', 'verify', train, '--report', at('no.json')]);
  expect(rootless.status).toBe(1);
  expect(rootless.stderr).toMatch(
    /^error ERR_ARGUMENT: .*train\.txt: name the folder or archive of its videos as root/,
  );
  const itself = await runCli(['data', 'pack', at('train.tar'), '--output', at('train.tar')]);
  expect(itself.stderr).toMatch(/^error ERR_ARGUMENT: .* is what is read/);
  const settings = ['--short-side', '16', '--gop', '3'];
  const cached = await runCli([
    ...['data', 'cache', train, '--root', at('train.tar'), '--output', at('cached'), ...settings],
  ]);
  const copy = await VideoReader.open(at(`cached/${cachedName(`${tiny.names[0]} 0.mp4`)}`));
  copy.close();
  expect([copy.info.height, Array.from(copy.info.keyFrames)]).toEqual([16, [0, 3, 6, 9]]);
  expect(cached).toMatchObject({ status: 0, stderr: '' });
  expect(cached.stdout).toMatch(
    /train\.txt: 9 videos, 0 could not be copied\n8 frames of 9 videos on one thread: [\d.]+ clips\/s before, [\d.]+ after, [\d.]+ times as fast\n$/,
  );
  const words = [
    '--index',
    '2',
    '--epoch',
    '1',
    '--output',
    at('views'),
    '--opts',
    'DATA.ROOT',
    at('train.tar'),
  ];
  const shown = await runCli(['data', 'show', '-cfg', tiny.cfg, ...words]);
  expect(shown).toMatchObject({ status: 0, stderr: '' });
  expect(shown.stdout).toContain(`train.tar: ${tiny.names[0]} 2.mp4, label 0: 1 x 4 frames`);
  expect(readdirSync(at('views'))).toContain('contact_sheet.png');
  const plan = () => JSON.parse(readFileSync(at('views/plan.json'), 'utf8'));
  expect(plan()).toMatchObject({ kind: 'train', index: 2, epoch: 1 });
  const val = ['DATA.ROOT', videos];
  await runCli(['data', 'show', '-cfg', tiny.cfg, '--test', ...words.slice(0, -2), ...val]);
  expect(plan()).toMatchObject({ kind: 'test', index: 2, location: expect.stringContaining(tiny.names[2]!) });
});
