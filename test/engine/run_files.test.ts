import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { packDataset } from '../../lib/data/pack';
import { VideoDataset } from '../../lib/data/video_dataset';
import { run } from '../../lib/engine/run';
import { memory } from '../../lib/native/device';
import { factsOf, linesOf, outcomeOf } from '../support/run_outcome';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

// What a run finds in its folder, leaves there, and lets go of.
let tiny: TinyRun;
/** A checkpoint of one epoch. */
let checkpoint: string;
beforeAll(async () => {
  tiny = await makeTinyRun();
  await outcomeOf(tiny.config(['OUTPUT', folder('source'), 'TRAIN.EPOCHS', '1']));
  checkpoint = folder('source/ckpt_epoch_0.pth');
});
afterAll(() => tiny.remove());

function folder(name: string): string {
  return join(tiny.root, name);
}

test.each([
  ['another training', ['MODEL.PRETRAINED']],
  ['a checkpoint to go on from', ['MODEL.RESUME']],
  ['a checkpoint to test', ['TEST.ONLY_TEST', 'True', 'MODEL.RESUME']],
])('an abort while the weights of %s are loaded leaves nothing', async (what, opts) => {
  const out = folder(`never ${what}`);
  const config = tiny.config([...opts, checkpoint, 'OUTPUT', out]);
  await expect(run(config, { signal: AbortSignal.abort(), threads: 1 })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  expect(existsSync(out)).toBe(false);
});

test('an abort during the report leaves the one before, or none', async () => {
  const out = folder('unreported');
  const { error } = await outcomeOf(
    tiny.config(['OUTPUT', out, 'TRAIN.EPOCHS', '1']),
    (event) => event.kind === 'accuracy' && event.epoch === null,
  );
  expect(error).toMatchObject({ code: 'ERR_ABORTED' });
  expect(existsSync(join(out, 'report.html'))).toBe(false);
});

test('a run that goes on appends whole lines, begins at the newest checkpoint and is reported as a training', async () => {
  const out = folder('appended');
  const opts = ['OUTPUT', out, 'PRINT_FREQ', '3'];
  await outcomeOf(tiny.config([...opts, 'TRAIN.EPOCHS', '1']));
  // As a crash may leave them.
  for (const name of ['log_rank0.txt', 'metrics.jsonl']) {
    truncateSync(join(out, name), statSync(join(out, name)).size - 1);
  }
  const other = ['MODEL.RESUME', tiny.cfg]; // which is none
  const { error } = await outcomeOf(tiny.config([...opts, ...other, 'TRAIN.AUTO_RESUME', 'True']));
  expect(error).toBeUndefined();
  for (const line of linesOf(out, 'log_rank0.txt')) {
    expect(line.match(/\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] /g)).toHaveLength(1);
  }
  const records = linesOf(out, 'metrics.jsonl').map((line) => JSON.parse(line));
  expect(records.flatMap(({ kind }, i) => (kind === 'begin' ? [i] : []))).toEqual([0]);
  expect(records.filter(({ kind }) => kind === 'train').map(({ epoch, step }) => [epoch, step])).toEqual([
    [0, 0],
    [0, 3],
    [1, 0],
    [1, 3],
  ]);
  const { protocol } = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'));
  expect(protocol).toMatchObject({ checkpoint: null, seed: 7 });
  expect(factsOf(readFileSync(join(out, 'report.html'), 'utf8'))).toHaveProperty(['Training list']);
});

test('what a writer that is gone left is removed by a training, and by no test', async () => {
  const out = folder('littered');
  const { pid } = spawnSync('true');
  const left = join(out, `.ckpt_epoch_0.pth.${pid}.01234567.tmp`);
  mkdirSync(out);
  writeFileSync(left, '');
  await outcomeOf(tiny.config(['OUTPUT', out]), (event) => event.kind === 'message');
  expect(existsSync(left)).toBe(false);

  writeFileSync(left, '');
  const test = ['TEST.ONLY_TEST', 'True', 'MODEL.RESUME', checkpoint];
  expect((await outcomeOf(tiny.config([...test, 'OUTPUT', out]))).error).toBeUndefined();
  expect(existsSync(left)).toBe(true);
});

test('a log that cannot be begun is refused with its name', async () => {
  const out = folder('log_is_a_folder');
  mkdirSync(join(out, 'metrics.jsonl'), { recursive: true });
  expect((await outcomeOf(tiny.config(['OUTPUT', out]))).error).toMatchObject({
    code: 'ERR_FILE_WRITE',
    message: expect.stringContaining(join(out, 'metrics.jsonl')),
  });
});

test('lists that are archives are told of as they are listed, which an abort ends', async () => {
  const out = folder('from_archives');
  const archives = [folder('val.tar'), folder('train.tar')];
  for (const archive of archives) {
    const list = archive.replace('tar', 'txt');
    await packDataset(await VideoDataset.fromList(list, { root: folder('videos') }), { output: archive });
  }
  const opts = [
    'DATA.ROOT',
    '',
    'DATA.VAL_FILE',
    archives[0]!,
    'DATA.TRAIN_FILE',
    archives[1]!,
    'OUTPUT',
    out,
  ];
  const config = tiny.config([...opts, 'TRAIN.EPOCHS', '1']);
  const stopped = await outcomeOf(config, ({ kind }) => kind === 'listing');
  expect(stopped.error).toMatchObject({ code: 'ERR_ABORTED', message: 'listing the archive was aborted' });
  expect(existsSync(out)).toBe(false);

  const { error, events } = await outcomeOf(config);
  expect(error).toBeUndefined();
  const listings = events.flatMap((event) => (event.kind === 'listing' ? [event] : []));
  for (const archive of archives) {
    const own = listings.filter((listing) => listing.archive === archive);
    expect([own[0]!.done, own.at(-1)!.done]).toEqual([0, own[0]!.total]);
  }
});

test('a saved model tests as it did in training; no file stays open, and no tensor', async () => {
  const before = memory('cpu').liveTensors;
  const { top1 } = await outcomeOf(tiny.config(['TRAIN.EPOCHS', '1']));
  expect(memory('cpu').liveTensors).toBe(before);
  const list = folder('with_missing.txt');
  writeFileSync(list, `${readFileSync(folder('val.txt'), 'utf8')}gone.mp4 0\n`);
  const opts = ['TEST.ONLY_TEST', 'True', 'MODEL.RESUME', checkpoint, 'OUTPUT', folder('test_alone')];
  const bad = ['DATA.VAL_FILE', list, 'DATA.ON_ERROR', 'skip'];
  const tested = await outcomeOf(tiny.config([...opts, ...bad]));
  expect(memory('cpu').liveTensors).toBe(before);
  if (process.platform === 'linux') expect(openFiles()).not.toContain(checkpoint);
  expect(tested.top1).toEqual([top1[0]]);
  expect(factsOf(readFileSync(folder('test_alone/report.html'), 'utf8'))).toMatchObject({
    Checkpoint: checkpoint,
    'Bad test videos': '1 not read (ON_ERROR skip), 0 with damaged frames',
  });
  const { protocol } = JSON.parse(readFileSync(folder('test_alone/results.json'), 'utf8'));
  expect(protocol).toMatchObject({ checkpoint, seed: 7, failed: 1 });
});

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // that of this reading
    }
  });
}
