import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { EngineEvent } from '../../lib/engine/events';
import { run } from '../../lib/engine/run';
import { fixturePath } from '../support/fixture';
import { factsOf, linesOf, type Outcome, outcomeOf } from '../support/run_outcome';
import { yieldingThreads } from '../support/threads';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

// 9 training videos in batches of 2: 4 steps an epoch, the ninth video is left out of each (another one each time).
let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun();
});
afterAll(() => tiny.remove());

function folder(name: string): string {
  return join(tiny.root, name);
}

test('a run leaves checkpoints, log, metrics, configuration and report, and nothing else', async () => {
  const out = folder('whole');
  const begun = performance.now();
  const { error, events, rates } = await outcomeOf(tiny.config(['OUTPUT', out]));
  expect(error).toBeUndefined();
  const epochs = events.flatMap((event) => (event.kind === 'epoch' ? [event] : []));
  expect(epochs).toHaveLength(2);
  expect(epochs[0]!.seconds + epochs[1]!.seconds).toBeLessThan((performance.now() - begun) / 1000);
  const lastSteps = events.flatMap((event) => (event.kind === 'train' && event.step === 3 ? [event] : []));
  expect(epochs.map(({ loss }) => loss)).toEqual(lastSteps.map(({ averageLoss }) => averageLoss));
  const best = events.some((event) => event.kind === 'accuracy' && event.top1 > 0) ? ['best.pth'] : [];
  expect(readdirSync(out).sort()).toEqual(
    [
      ...best,
      'ckpt_epoch_0.pth',
      'ckpt_epoch_1.pth',
      'config.yaml',
      'log_rank0.txt',
      'metrics.jsonl',
      'report.html',
      'results.json',
    ].sort(),
  );
  // The best comes before the checkpoint that knows of it: a run that is killed in between would never write it.
  const saved = events.flatMap((event) => (event.kind === 'checkpoint' ? [event] : []));
  const bests = saved.flatMap(({ path }, i) => (path === join(out, 'best.pth') ? [i] : []));
  expect(bests.length > 0).toBe(best.length > 0);
  expect(saved.filter(({ batch }) => batch !== null)).toEqual([]);
  for (const i of bests) expect(saved[i + 1]!.path).toBe(join(out, `ckpt_epoch_${saved[i]!.epoch}.pth`));
  // No warm-up: the schedule starts at LR; the rate shown is the one after the step.
  expect(rates).toHaveLength(8);
  const log = readFileSync(join(out, 'log_rank0.txt'), 'utf8');
  expect(log).toMatch(
    /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] Train: \[1\/2\]\[3\/4\]\teta 0:00:0\d lr 0\.\d{9}\ttime \d/m,
  );
  expect(log).toMatch(/ \* Acc@1 \d+\.\d{3} Acc@5 100\.000/);
  expect(log).toContain('12 views inference');
  const [, all, trained] = /custom: ([\d,]+) parameters, ([\d,]+) of them trained, computing in float32/.exec(
    log,
  )!;
  expect(trained!.length).toBeLessThan(all!.length); // the text tower is fixed
  const records = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(records.filter(({ kind }) => kind === 'train')).toHaveLength(8);
  expect(
    records
      .filter(({ kind }) => kind === 'accuracy')
      .map(({ epoch, clips, crops, best }) => [epoch, clips * crops, best !== null]),
  ).toEqual([
    [0, 1, true],
    [1, 1, true],
    [null, 12, false],
  ]);
  const page = readFileSync(join(out, 'report.html'), 'utf8');
  expect(page.match(/<svg/g)!.length).toBe(3);
  expect(page.match(/<td/g)!.length).toBeGreaterThanOrEqual(9);
  expect(page).toContain('data:image/png;base64,');
  expect(factsOf(page)).toMatchObject({
    'Top-3 accuracy of the last test': '100.00 %',
    Views: '4 clips x 3 crops of 4 frames, seed 7',
    'Training list': folder('train.txt'),
  });
  const results = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'));
  const shown = results.classes.filter((one: { videos: number }) => one.videos > 0);
  for (const { name, correct, videos, accuracy } of shown) {
    expect(page).toContain(
      `<td>${name}</td><td class="number">${accuracy.toFixed(1)} %</td><td class="number">${correct} of ${videos}</td>`,
    );
  }
  expect(page).not.toMatch(/<script|https?:/);
});

test('two runs with one seed give the same losses, with any number of data workers', async () => {
  const one = await outcomeOf(tiny.config(['DATA.NUM_WORKERS', '1']));
  const three = await outcomeOf(tiny.config(['DATA.NUM_WORKERS', '3']));
  expect(one.losses).toHaveLength(8);
  expect(three.losses).toEqual(one.losses);
  expect(three.top1).toEqual(one.top1);
  const other = await outcomeOf(tiny.config(['SEED', '8']));
  expect(other.losses).not.toEqual(one.losses);
});

(yieldingThreads() === null ? test.skip : test)(
  'decoding yields to a model on the CPU, until its run ends',
  async () => {
    let most = 0;
    const config = tiny.config(['DATA.NUM_WORKERS', '2', 'MODEL.DEVICE', 'cpu']);
    await outcomeOf(config, () => {
      most = Math.max(most, yieldingThreads()!);
      return false;
    });
    expect(most).toBe(2);
    while (yieldingThreads() !== 0) await new Promise((resume) => setTimeout(resume, 10));
  },
);

test('training learns: the loss falls', async () => {
  const plain = [
    'AUG.MIXUP',
    '0',
    'AUG.COLOR_JITTER',
    '0',
    'AUG.GRAY_SCALE',
    '0',
    'MODEL.DROP_PATH_RATE',
    '0',
  ];
  const still = ['AUG.MULTI_SCALE_CROP', 'False', 'AUG.SHIFT', '2'];
  const opts = ['TRAIN.EPOCHS', '25', 'TRAIN.BATCH_SIZE', '9', 'TRAIN.CLIP_GRAD', '1', ...plain, ...still];
  const { losses } = await outcomeOf(tiny.config(opts));
  expect(losses).toHaveLength(25);
  expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]!);
});

describe.each([
  ['one micro-batch per update', []],
  ['three micro-batches per update, one left over', ['TRAIN.ACCUMULATION_STEPS', '3']],
])('%s', (_, opts) => {
  test('resuming from the checkpoint of an epoch goes on as if nothing had happened', async () => {
    const out = folder(`epochs${opts.length}`);
    const whole = await outcomeOf(tiny.config([...opts, 'TRAIN.EPOCHS', '3', 'OUTPUT', out]));
    const resumed = await outcomeOf(
      tiny.config([...opts, 'TRAIN.EPOCHS', '3', 'MODEL.RESUME', join(out, 'ckpt_epoch_0.pth')]),
    );
    expect(whole.losses).toHaveLength(12);
    expect(resumed.losses).toEqual(whole.losses.slice(4));
    expect(resumed.rates).toEqual(whole.rates.slice(4));
    expect(resumed.top1).toEqual(whole.top1.slice(1));
  });

  test('an abort within an epoch saves, and the resumed run repeats nothing and misses nothing', async () => {
    const out = folder(`middle${opts.length}`);
    const whole = await outcomeOf(tiny.config(opts));
    const config = tiny.config([...opts, 'OUTPUT', out, 'TRAIN.AUTO_RESUME', 'True']);
    const first = await outcomeOf(
      config,
      (event) => event.kind === 'train' && event.epoch === 1 && event.step === 1,
    );
    expect(first.error).toMatchObject({ code: 'ERR_ABORTED' });
    // With three micro-batches per update, the two since the last update are done again.
    const batch = opts.length === 0 ? 2 : 0;
    const saved = join(out, batch > 0 ? `ckpt_epoch_1_batch_${batch}.pth` : 'ckpt_epoch_0.pth');
    expect(first.error!.message).toContain(saved);
    expect(existsSync(saved)).toBe(true);
    const second = await outcomeOf(config);
    expect(second.error).toBeUndefined();
    expect([...first.losses.slice(0, 4 + batch), ...second.losses]).toEqual(whole.losses);
    expect(second.top1).toEqual(whole.top1.slice(1));
    expect(readdirSync(out).filter((name) => name.includes('_batch_'))).toEqual([]);
  });
});

test('SAVE_FREQ says which epochs have a checkpoint, beside the last', async () => {
  const [out, stopped] = [folder('some'), folder('some_stopped')];
  const opts = ['TRAIN.EPOCHS', '4', 'SAVE_FREQ', '2'];
  const { error, losses } = await outcomeOf(tiny.config([...opts, 'OUTPUT', out]));
  expect(error).toBeUndefined();
  const saved = readdirSync(out).filter((name) => name.startsWith('ckpt_'));
  expect(saved.sort()).toEqual([0, 2, 3].map((epoch) => `ckpt_epoch_${epoch}.pth`));

  // An abort before the first step after an epoch that has none keeps that epoch.
  const into = tiny.config([...opts, 'OUTPUT', stopped, 'TRAIN.AUTO_RESUME', 'True']);
  const first = await outcomeOf(into, (event) => event.kind === 'accuracy' && event.epoch === 1);
  expect(first.error!.message).toContain(join(stopped, 'ckpt_epoch_2_batch_0.pth'));
  const second = await outcomeOf(into);
  expect([...first.losses, ...second.losses]).toEqual(losses);
});

test('rates rise over the whole steps of the warm-up, then fall by half a cosine to a hundredth', async () => {
  const { rates } = await outcomeOf(tiny.config(['TRAIN.WARMUP_EPOCHS', '0.7']));
  const cosine = (step: number) => 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + Math.cos((Math.PI * step) / 8));
  const expected = [0, 0.5e-3, ...[2, 3, 4, 5, 6, 7].map(cosine)];
  expect(rates).toEqual(expected.map((rate) => expect.closeTo(rate, 12)));
});

test('a resumed run goes on with its seed and its best accuracy, whatever the configuration says now', async () => {
  const out = folder('seeds');
  const whole = await outcomeOf(tiny.config(['OUTPUT', out]));
  const { readCheckpoint, writeTorch } = await import('../../lib/io');
  const checkpoint = await readCheckpoint(join(out, 'ckpt_epoch_0.pth'));
  const value = checkpoint.value as Map<string, unknown>;
  const into = folder('seeds_resumed');
  // A run that is as good as before, or worse, leaves no best.pth.
  for (const best of [whole.top1[1]!, 101]) {
    const file = folder('best_before.pth');
    await writeTorch(file, new Map([...value, ['max_accuracy', best]]));
    const resumed = await outcomeOf(tiny.config(['MODEL.RESUME', file, 'SEED', '8', 'OUTPUT', into]));
    expect(resumed.losses).toEqual(whole.losses.slice(4));
    expect(resumed.events).toContainEqual({
      kind: 'message',
      text: 'the run goes on with its SEED 7, not 8',
      warning: true,
    });
    expect(resumed.events).toContainEqual(expect.objectContaining({ kind: 'accuracy', epoch: 1, best }));
    expect(existsSync(join(into, 'best.pth'))).toBe(false);
    expect(JSON.parse(readFileSync(join(into, 'results.json'), 'utf8')).protocol.seed).toBe(7);
  }
  await checkpoint.close();
  // What it saves is of that seed, too.
  const goOn = (file: string) =>
    outcomeOf(tiny.config(['MODEL.RESUME', file, 'SEED', '8', 'TRAIN.EPOCHS', '3']));
  const [again, three] = [
    await goOn(join(into, 'ckpt_epoch_1.pth')),
    await goOn(join(out, 'ckpt_epoch_1.pth')),
  ];
  expect(again.losses).toEqual(three.losses);
});

describe('what is learnt depends on', () => {
  let plain: Outcome;
  beforeAll(async () => {
    plain = await outcomeOf(tiny.config(['TRAIN.EPOCHS', '1']));
  });

  test.each([
    ['TRAIN.BETAS', '[0.5, 0.6]'],
    ['TRAIN.CLIP_GRAD', '0.01'],
    ['TRAIN.WEIGHT_DECAY', '10'],
    ['TRAIN.LR', '1e-4'],
    ['TRAIN.LR_SCALE_NEW', '2'],
    ['TRAIN.ACCUMULATION_STEPS', '2'],
    ['TRAIN.OPT_LEVEL', 'O1'],
    ['MODEL.DROP_PATH_RATE', '0.5'],
    ['MODEL.FIX_TEXT', 'False'],
    ['AUG.LABEL_SMOOTH', '0.5'],
    ['AUG.COLOR_JITTER', '0'],
    ['AUG.GRAY_SCALE', '1'],
    ['AUG.FLIP', '1'],
    ['AUG.MIXUP', '0'],
    ['AUG.CUTMIX', '0'],
    ['AUG.MIXUP_SWITCH_PROB', '1'],
  ])('%s', async (key, value) => {
    const { error, losses } = await outcomeOf(tiny.config(['TRAIN.EPOCHS', '1', key, value]));
    expect([error, losses.length]).toEqual([undefined, 4]);
    expect(losses).not.toEqual(plain.losses);
  });
});

test('each epoch counts its own bad samples', async () => {
  const list = folder('with_bad.txt');
  const text = readFileSync(join(tiny.root, 'train.txt'), 'utf8').trim().split('\n');
  // The length of the first unit of frame 16, to which later ones refer.
  const sound = readFileSync(fixturePath('video/h264_b_frames.mp4'));
  writeFileSync(folder('videos/damaged.mp4'), sound.fill(0xff, 1662, 1666));
  writeFileSync(list, ['gone.mp4 0', 'damaged.mp4 0', ...text.slice(2)].map((line) => `${line}\n`).join(''));
  const opts = ['DATA.TRAIN_FILE', list, 'DATA.ON_ERROR', 'skip', 'TRAIN.BATCH_SIZE', '3'];
  const { events } = await outcomeOf(tiny.config(opts));
  const epochs = events.filter((event) => event.kind === 'epoch');
  expect(epochs.map(({ failed, damaged }) => [failed, damaged])).toEqual([
    [1, 1],
    [1, 1],
  ]);
  const { error } = await outcomeOf(tiny.config([...opts, 'DATA.MAX_BAD_SHARE', '0.1']));
  expect(error).toMatchObject({ code: 'ERR_BAD_VIDEOS' }); // one of nine
});

test('an abort during the test after an epoch keeps the epoch', async () => {
  const out = folder('testing');
  const config = tiny.config(['OUTPUT', out, 'TRAIN.AUTO_RESUME', 'True']);
  const whole = await outcomeOf(tiny.config());
  const first = await outcomeOf(config, (event) => event.kind === 'test');
  expect(first.error!.message).toContain('ckpt_epoch_0_batch_4.pth');
  const second = await outcomeOf(config);
  expect(second.losses).toEqual(whole.losses.slice(4));
  expect(second.top1).toEqual(whole.top1);
});

test('an abort of the test after training names the last checkpoint, from which the test alone is repeated', async () => {
  const config = tiny.config(['OUTPUT', folder('last_test'), 'TRAIN.EPOCHS', '1']);
  // The first test is that of the epoch.
  let epochsTested = 0;
  const stopAt = (event: EngineEvent) => {
    if (event.kind === 'accuracy') epochsTested++;
    return event.kind === 'test' && epochsTested === 1;
  };
  const { error } = await outcomeOf(config, stopAt);
  const saved = join(folder('last_test'), 'ckpt_epoch_0.pth');
  expect(error).toMatchObject({ code: 'ERR_ABORTED', message: expect.stringContaining(`--resume ${saved}`) });
  const again = await outcomeOf(tiny.config(['MODEL.RESUME', saved, 'TRAIN.EPOCHS', '1']));
  expect([again.error, again.losses, again.top1.length]).toEqual([undefined, [], 1]);
  // A run that is stopped before it has learnt anything names what it began with.
  const idle = await outcomeOf(tiny.config(['MODEL.RESUME', saved]), ({ kind }) => kind === 'message');
  expect(idle.error!.message).toBe(`stopped in epoch 1 after 0 batches; continue with --resume ${saved}`);
});

test('a log that cannot be written does not hide the error that came before', async () => {
  const out = folder('no_log');
  const listener = (event: EngineEvent) => {
    if (event.kind !== 'train') return;
    rmSync(join(out, 'log_rank0.txt'));
    mkdirSync(join(out, 'log_rank0.txt'));
    throw new Error('of the listener');
  };
  await expect(run(tiny.config(['OUTPUT', out]), { listener, threads: 1 })).rejects.toThrow(
    'of the listener',
  );
});

test('an abort before anything was learnt writes no checkpoint', async () => {
  const out = folder('early');
  const { error } = await outcomeOf(tiny.config(['OUTPUT', out]), (event) => event.kind === 'message');
  expect(error).toMatchObject({ code: 'ERR_ABORTED', message: expect.stringContaining('nothing was saved') });
  expect(readdirSync(out).filter((name) => name.endsWith('.pth'))).toEqual([]);
  expect(linesOf(out, 'log_rank0.txt').at(-1)).toMatch(
    /\] stopped in epoch 0 after 0 batches; nothing was saved$/,
  );
});

test('a loss that is no number stops the run before the update and names step and videos', async () => {
  const out = folder('not_finite');
  const { error, losses } = await outcomeOf(tiny.config(['TRAIN.LR', '1e30', 'OUTPUT', out]));
  expect(error).toMatchObject({ code: 'ERR_NOT_FINITE' });
  expect(linesOf(out, 'log_rank0.txt').at(-1)).toContain(`] error ERR_NOT_FINITE: ${error!.message}`);
  expect(error!.message).toMatch(/epoch \d, step \d;.*videos\/.*\.mp4/);
  expect(losses.every(Number.isFinite)).toBe(true);
});

test('weights alone start at epoch 0 and say so; other weights are refused before anything is written', async () => {
  const out = folder('source');
  await outcomeOf(tiny.config(['OUTPUT', out, 'TRAIN.EPOCHS', '1']));
  const { readCheckpoint, writeTorch } = await import('../../lib/io');
  const checkpoint = await readCheckpoint(join(out, 'ckpt_epoch_0.pth'));
  const weights = folder('weights.pth');
  await writeTorch(weights, { model: checkpoint.stateDict });
  await checkpoint.close();
  const { events, losses } = await outcomeOf(tiny.config(['MODEL.RESUME', weights]));
  expect(losses).toHaveLength(8);
  expect(events).toContainEqual(expect.objectContaining({ kind: 'message', warning: true }));

  const refused = folder('refused');
  const other = tiny.config(['MODEL.RESUME', weights, 'MODEL.CUSTOM.vision_layers', '3', 'OUTPUT', refused]);
  expect((await outcomeOf(other)).error).toMatchObject({ code: 'ERR_CHECKPOINT_MISMATCH' });
  const frames = tiny.config(['MODEL.RESUME', weights, 'DATA.NUM_FRAMES', '8', 'OUTPUT', refused]);
  expect((await outcomeOf(frames)).error!.code).toMatch(/ERR_FRAME_COUNT|ERR_CHECKPOINT_MISMATCH/);
  expect(existsSync(refused)).toBe(false);
});

test('a checkpoint from the middle of an epoch of another length is refused', async () => {
  const out = folder('short');
  const config = tiny.config(['OUTPUT', out]);
  await outcomeOf(config, (event) => event.kind === 'train' && event.step === 1);
  const file = readdirSync(out).find((name) => name.includes('_batch_'))!;
  const other = tiny.config(['MODEL.RESUME', join(out, file), 'TRAIN.BATCH_SIZE', '3']);
  expect((await outcomeOf(other)).error).toMatchObject({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: expect.stringContaining('epoch of 4 batches'),
  });
});

test.each([
  ['DATA.VAL_FILE', '', 'ERR_CONFIG_VALUE'],
  ['DATA.TRAIN_FILE', 'nowhere.txt', 'ERR_FILE_NOT_FOUND'],
  ['DATA.NUM_CLASSES', '4', 'ERR_CONFIG_VALUE'],
  ['DATA.LABEL_LIST', 'one,two', 'ERR_CONFIG_VALUE'],
  ['MODEL.RESUME', 'nowhere.pth', 'ERR_FILE_NOT_FOUND'],
  ['MODEL.PRETRAINED', 'nowhere.pt', 'ERR_FILE_NOT_FOUND'],
  ['TRAIN.BATCH_SIZE', '10', 'ERR_CONFIG_VALUE'],
  ['AUG.MULTI_SCALE_CROP', 'False', 'ERR_CONFIG_VALUE'],
])('%s %s is refused with %s before anything is written', async (key, value, code) => {
  const out = folder('never');
  const { error } = await outcomeOf(tiny.config([key, value, 'OUTPUT', out]));
  expect(error).toMatchObject({ code });
  expect(existsSync(out)).toBe(false);
});

test.each(['MODEL.RESUME', 'MODEL.PRETRAINED'])(
  '%s says why the system does not lead to a file',
  async (key) => {
    symlinkSync('loop', join(tiny.root, 'loop'));
    try {
      for (const [name, code, words] of [
        ['loop', 'ERR_FILE_READ', 'cannot be read: too many symbolic links encountered (ELOOP)'],
        ['val.txt/x.pth', 'ERR_FILE_NOT_FOUND', 'does not exist: what it names as a folder is a file'],
        ['n'.repeat(300), 'ERR_FILE_READ', 'cannot be read: name too long (ENAMETOOLONG)'],
      ] as const) {
        const { error } = await outcomeOf(tiny.config([key, join(tiny.root, name)]));
        expect(error).toMatchObject({
          code,
          message: expect.stringContaining(`${key}: ${tiny.root}/${name} ${words}`),
        });
      }
    } finally {
      unlinkSync(join(tiny.root, 'loop'));
    }
  },
);

test('automatic resume needs a folder, and goes by epoch', async () => {
  const { error } = await outcomeOf(tiny.config(['TRAIN.AUTO_RESUME', 'True']));
  expect(error).toMatchObject({ code: 'ERR_CONFIG_VALUE' });
  mkdirSync(folder('empty'));
  const fresh = await outcomeOf(
    tiny.config(['TRAIN.AUTO_RESUME', 'True', 'OUTPUT', folder('empty'), 'TRAIN.EPOCHS', '1']),
  );
  expect(fresh.losses).toHaveLength(4);
});
