import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeTorch } from '../../lib/io';
import { createTask, rawStateDict } from '../../lib/models';
import { buildCli, runCli } from '../support/built_cli';
import { fixturePath } from '../support/fixture';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
let checkpoint: string;
let clip: string;
jest.setTimeout(240_000);

beforeAll(async () => {
  buildCli();
  tiny = await makeTinyRun(1, 1);
  clip = join(tiny.root, 'videos', `${tiny.names[0]} 0.mp4`);
  const task = await createTask(tiny.config(), tiny.names);
  checkpoint = path('tiny.pth');
  await writeTorch(checkpoint, { model: rawStateDict(task.model), config: tiny.config() });
  task.dispose();
  makeBadFiles();
});
afterAll(() => tiny.remove());

function path(name: string): string {
  return join(tiny.root, name);
}

function makeBadFiles(): void {
  const write = (name: string, contents: string | Buffer) => writeFileSync(path(name), contents);
  const video = readFileSync(clip);
  const weights = readFileSync(checkpoint);
  write('text.mp4', 'this is not a video\n');
  write('empty.mp4', '');
  write('cut.mp4', video.subarray(0, Math.floor(video.length / 2)));
  mkdirSync(path('folder.mp4'));
  write('header_only.csv', 'id,name\n');
  write('long.csv', `id,name\n0,${'very '.repeat(100)}long\n`);
  write('four.csv', 'id,name\n0,a\n1,b\n2,c\n3,d\n');
  write('cut.pth', weights.subarray(0, weights.length / 2));
  write('text.pth', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n');
  write('magic.pth', Buffer.concat([Buffer.from('JUNK'), weights.subarray(4, 1000)]));
  // A header that claims 2^60 bytes.
  write('absurd.safetensors', Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x10, 0x7b, 0x7d]));
  // Protocol 2: GLOBAL posix system, the text, a tuple of it, REDUCE.
  write('hostile.pth', Buffer.from('\x80\x02cposix\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R.', 'latin1'));
  write('range.txt', `${tiny.names[0]} 0.mp4 0\n${tiny.names[1]} 0.mp4 3\n`);
  write('malformed.txt', 'no_label.mp4\n');
  write('missing_video.txt', 'nowhere.mp4 0\nnowhere_else.mp4 1\n');
  write('unknown_key.yaml', 'TRAIN:\n  EPOCHS: 1\n  EPOHCS: 2\n');
  write('type.yaml', 'TRAIN:\n  EPOCHS: many\n');
}

/** The whole of standard error must be one error line with this code. */
async function expectError(words: string[], code: string, ...parts: (string | RegExp)[]): Promise<void> {
  const { status, stdout, stderr } = await runCli(words, { cwd: tiny.root });
  expect(stderr).toMatch(new RegExp(`^error ${code}: .+\n$`));
  expect(stderr).not.toMatch(/^\s+at /m);
  for (const part of parts) expect(stderr).toMatch(part);
  expect(status).toBe(1);
  expect(stdout).toBe('');
}

describe('classify', () => {
  const classify = (file: string, labels = 'a,b', weights = checkpoint) => [
    ...['classify', file, '--checkpoint', weights, '--labels', labels],
  ];
  test.each([
    ['a missing video', 'nowhere.mp4', 'ERR_FILE_NOT_FOUND'],
    ['a folder', 'folder.mp4', 'ERR_(FILE_READ|VIDEO_FORMAT)'],
    ['text', 'text.mp4', 'ERR_VIDEO_FORMAT'],
    ['an empty file', 'empty.mp4', 'ERR_VIDEO_(FORMAT|EMPTY)'],
    ['a truncated video', 'cut.mp4', 'ERR_VIDEO_(FORMAT|DECODE)'],
  ])('%s', (_, file, code) => expectError(classify(file), code, file));

  test.each([
    ['', []],
    [', window by window', ['--window', '100']],
  ])('a bad video among good ones%s', async (_, windows) => {
    const words = [
      'classify',
      clip,
      'text.mp4',
      clip,
      '--checkpoint',
      checkpoint,
      '--labels',
      'a,b',
      ...windows,
    ];
    const text = await runCli(words, { cwd: tiny.root });
    expect(text.status).toBe(1);
    expect(text.stderr).toMatch(/^error ERR_VIDEO_FORMAT: .*text\.mp4.*\n$/);
    expect(text.stdout.match(/^ +\d+\.\d\d % {2}[ab]$/gm)).toHaveLength(4);

    const json = await runCli([...words, '--json'], { cwd: tiny.root });
    expect([json.status, json.stderr]).toEqual([1, text.stderr]);
    const [first, bad, last] = JSON.parse(json.stdout);
    expect(bad).toEqual({
      path: 'text.mp4',
      error: { code: 'ERR_VIDEO_FORMAT', message: expect.stringContaining('text.mp4') },
    });
    expect(first.classes).toHaveLength(2);
    expect(last).toEqual(first);
  });

  test('what is not the fault of a video ends the work before the others', async () => {
    await expectError(
      ['classify', clip, clip, '--checkpoint', checkpoint, '--labels', 'a,b', '--clips', '1000000000000'],
      'ERR_OUT_OF_MEMORY',
    );
  });

  test('more clips than there is memory for', () =>
    expectError(classify(clip).concat('--clips', '1000000000000'), 'ERR_OUT_OF_MEMORY', 'take fewer'));

  test('labels', async () => {
    await expectError(classify(clip, 'header_only.csv'), 'ERR_LABELS', 'header_only.csv');
    await expectError(classify(clip, ''), 'ERR_LABELS');
    await expectError(classify(clip, 'nowhere.csv'), 'ERR_FILE_NOT_FOUND', 'nowhere.csv');
    await expectError(
      classify(clip, 'long.csv', checkpoint).concat('--zero-shot'),
      'ERR_TEXT_TOO_LONG',
      'very',
    );
    await expectError(classify(clip, 'four.csv'), 'ERR_LABELS', '4 classes', 'trained on 3');
  });

  test.each([
    ['missing', 'nowhere.pth', 'ERR_FILE_NOT_FOUND'],
    ['truncated', 'cut.pth', 'ERR_CHECKPOINT_FORMAT'],
    ['not fetched', 'text.pth', 'ERR_CHECKPOINT_FORMAT'],
    ['of another kind', 'magic.pth', 'ERR_CHECKPOINT_FORMAT'],
    ['with absurd sizes', 'absurd.safetensors', 'ERR_CHECKPOINT_(FORMAT|UNSAFE)'],
    ['that calls a function', 'hostile.pth', 'ERR_CHECKPOINT_UNSAFE'],
    ['of another model', fixturePath('checkpoints/legacy.pth'), 'ERR_CHECKPOINT_(MISMATCH|FORMAT)'],
  ])('a checkpoint that is %s', (_, file, code) => expectError(classify(clip, 'a,b', file), code, file));
});

describe('train', () => {
  const train = (...opts: string[]) => [
    'train',
    '-cfg',
    tiny.cfg,
    '--output',
    path('out'),
    '--opts',
    ...opts,
  ];

  test.each([
    ['DATA.TRAIN_FILE', 'range.txt', 'ERR_LABEL_RANGE', /range\.txt:2/],
    ['DATA.TRAIN_FILE', 'malformed.txt', 'ERR_LIST_FORMAT', /malformed\.txt:1/],
    ['DATA.TRAIN_FILE', 'nowhere.txt', 'ERR_FILE_NOT_FOUND', /nowhere\.txt/],
    ['DATA.ROOT', 'nowhere', 'ERR_FILE_NOT_FOUND', /nowhere/],
    ['DATA.LABEL_LIST', 'header_only.csv', 'ERR_LABELS', /header_only\.csv/],
    ['DATA.LABEL_LIST', 'four.csv', 'ERR_CONFIG_VALUE', /four\.csv has 4 names/],
    ['TRAIN.EPOHCS', '3', 'ERR_CONFIG_KEY', /TRAIN\.EPOCHS/],
    ['TRAIN.EPOCHS', '-1', 'ERR_CONFIG_VALUE', /TRAIN\.EPOCHS/],
    ['TRAIN.EPOCHS', 'many', 'ERR_CONFIG_TYPE', /TRAIN\.EPOCHS/],
    ['MODEL.RESUME', 'cut.pth', 'ERR_CHECKPOINT_FORMAT', /cut\.pth/],
    ['MODEL.RESUME', 'hostile.pth', 'ERR_CHECKPOINT_UNSAFE', /system/],
    ['DATA.NUM_CLASSES', '4', 'ERR_CONFIG_VALUE', /NUM_CLASSES/],
  ])('%s %s', async (key, value, code, part) => {
    await expectError(train(key, value), code, part);
    expect(readdirSync(tiny.root)).not.toContain('out');
  });

  // Read whole, it would take all memory and end the process.
  (process.platform === 'linux' ? test : test.skip).each([
    ['a configuration', () => ['train', '-cfg', '/dev/zero']],
    ['a list', () => train('DATA.VAL_FILE', '/dev/zero')],
    ['a class table', () => train('DATA.LABEL_LIST', '/dev/zero')],
  ])('a device for %s', (_, words) => expectError(words(), 'ERR_FILE_READ', /\/dev\/zero.* it is a device/));

  // Node's own recursive mkdir never returns there.
  (process.platform === 'linux' ? test : test.skip)('--output where no folder can be made', () => {
    const words = [buildCli(), 'train', '-cfg', tiny.cfg, '--output', '/proc/xclip'];
    const { signal, status, stderr } = spawnSync(process.execPath, words, {
      encoding: 'utf8',
      timeout: 60_000,
      killSignal: 'SIGKILL',
    });
    expect([signal, status]).toEqual([null, 1]);
    expect(stderr).toMatch(
      /^error ERR_FILE_WRITE: \/proc\/xclip cannot be made: .* no new folder in \/proc\n$/m,
    );
  });

  test('a checkpoint for another number of frames', async () => {
    const words = train('DATA.NUM_FRAMES', '8', 'MODEL.RESUME', checkpoint);
    await expectError(words, 'ERR_(FRAME_COUNT|CHECKPOINT_MISMATCH)', 'tiny.pth');
    expect(readdirSync(tiny.root)).not.toContain('out');
  });

  test('a configuration file that is missing or wrong, with line and nearest name', async () => {
    await expectError(['train', '-cfg', 'nowhere.yaml'], 'ERR_FILE_NOT_FOUND', 'nowhere.yaml');
    await expectError(
      ['train', '-cfg', 'unknown_key.yaml'],
      'ERR_CONFIG_KEY',
      /unknown_key\.yaml:3.*TRAIN\.EPOCHS/,
    );
    await expectError(['train', '-cfg', 'type.yaml'], 'ERR_CONFIG_TYPE', /type\.yaml:2/);
  });

  test('videos that are missing, under each rule', async () => {
    const { status, stderr } = await runCli(train('DATA.TRAIN_FILE', 'missing_video.txt'), {
      cwd: tiny.root,
    });
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^error ERR_FILE_NOT_FOUND: missing_video\.txt:\d: .*\n$/),
    ]);
  });
});

test('wrong command lines', async () => {
  await expectError(['train'], 'ERR_USAGE', '--cfg');
  await expectError(['trian', '-cfg', 'x'], 'ERR_USAGE', 'trian');
  await expectError(['train', '-cfg', 'x', '--bogus'], 'ERR_USAGE', '--bogus');
  writeFileSync(path('-clip.mp4'), '');
  await expectError(
    ['classify', '-clip.mp4', '--checkpoint', checkpoint, '--labels', 'a'],
    'ERR_USAGE',
    /the file of that name is \.\/-clip\.mp4$/m,
  );
  await expectError(['train', '-cfg', tiny.cfg, '--batch-size', '0'], 'ERR_USAGE', 'batch-size');
  await expectError(['train', '-cfg', tiny.cfg, '--opts', 'TRAIN.EPOCHS'], 'ERR_USAGE', 'TRAIN.EPOCHS');
  await expectError(['test', '-cfg', tiny.cfg], 'ERR_CONFIG_VALUE', '--resume');
  await expectError(['info'], 'ERR_USAGE', '--checkpoint');
  const many = ['--threads', '2000'];
  await expectError(['train', '-cfg', tiny.cfg, '--output', path('out'), ...many], 'ERR_USAGE', '--threads');
  const classify = ['classify', clip, '--checkpoint', checkpoint, '--labels', 'a,b'];
  await expectError([...classify, ...many], 'ERR_USAGE', /--threads .* from 1 to 1024/);
  await expectError([...classify, '--device', 'tpu'], 'ERR_DEVICE', "'tpu'");
  await expectError(
    ['train', '-cfg', tiny.cfg, '--device', 'tpu'],
    'ERR_CONFIG_VALUE',
    '--device: MODEL.DEVICE',
  );
  const pretrained = ['--pretrained', 'nowhere.pt'];
  await expectError(['train', '-cfg', tiny.cfg, ...pretrained], 'ERR_FILE_NOT_FOUND', 'MODEL.PRETRAINED');
  await expectError(['convert', checkpoint, 'weights.txt'], 'ERR_USAGE', 'weights.txt');
  const before = readFileSync(checkpoint); // with the configuration and what else training goes on from
  await expectError(['convert', checkpoint, './tiny.pth'], 'ERR_ARGUMENT', 'would be written over');
  expect(readFileSync(checkpoint).equals(before)).toBe(true);
});

test('a stack follows only when DEBUG is set', async () => {
  const { stderr } = await runCli(['info', '-cfg', 'nowhere.yaml'], { cwd: tiny.root, env: { DEBUG: '1' } });
  expect(stderr).toMatch(/^error ERR_FILE_NOT_FOUND: .*\n.*\n\s+at /);
});
