import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../lib/config/load';
import {
  checkpointName,
  newestCheckpoint,
  readPosition,
  removeInterrupted,
  restore,
  saveCheckpoint,
  type Trained,
} from '../../lib/engine/checkpoint';
import { type Checkpoint, type PyValue, type RawTensor, readCheckpoint } from '../../lib/io';
import { parameterGroups, XclipTask } from '../../lib/models/xclip/recipe';
import { AdamW } from '../../lib/optim/adamw';
import { LossScaler } from '../../lib/optim/loss_scale';
import { CosineSchedule } from '../../lib/optim/schedule';
import { goldenPath } from '../support/golden';
import { loadTiny } from '../support/tiny_model';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'checkpoints-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function touch(...names: string[]): void {
  for (const name of names) writeFileSync(join(folder, name), '');
}

test('the newest checkpoint is the one furthest along, not the one written last', async () => {
  expect(await newestCheckpoint(folder)).toBeNull();
  expect(await newestCheckpoint(join(folder, 'missing'))).toBeNull();
  touch('best.pth', 'other.pth', 'ckpt_epoch_x.pth', '.ckpt_epoch_99.pth.1.0.tmp');
  expect(await newestCheckpoint(folder)).toBeNull();
  touch('ckpt_epoch_10.pth', 'ckpt_epoch_9.pth', 'ckpt_epoch_10_batch_500.pth');
  expect(await newestCheckpoint(folder)).toBe(join(folder, 'ckpt_epoch_10.pth'));
  touch('ckpt_epoch_11_batch_20.pth', 'ckpt_epoch_11_batch_9.pth');
  expect(await newestCheckpoint(folder)).toBe(join(folder, 'ckpt_epoch_11_batch_20.pth'));
  await expect(newestCheckpoint(join(folder, 'best.pth'))).rejects.toMatchObject({ code: 'ERR_FILE_READ' });
});

test('a finished epoch removes what was saved within it and before', async () => {
  const names = [checkpointName(2, null), checkpointName(2, 7), checkpointName(3, 1), 'best.pth'];
  touch(...names);
  await removeInterrupted(folder, 2);
  expect(readdirSync(folder).sort()).toEqual(['best.pth', 'ckpt_epoch_2.pth', 'ckpt_epoch_3_batch_1.pth']);
});

test('a checkpoint of the reference says where it stood', async () => {
  const checkpoint = await readCheckpoint(goldenPath('tiny.pth'));
  expect(readPosition(checkpoint, { seed: 5, stepsPerEpoch: 10 })).toEqual({
    epoch: 1,
    batch: null,
    stepsPerEpoch: 10,
    seed: 5,
    maxAccuracy: 61.25,
  });
  await checkpoint.close();
});

test('a position whose numbers are none is refused by their names', () => {
  const read = (position: object, others: object = {}) => {
    const values = { optimizer: new Map(), max_accuracy: 50, epoch: 1, ...others };
    const own = Object.keys(position).length > 0 ? { position: new Map(Object.entries(position)) } : {};
    const value = new Map(Object.entries({ ...values, ...own }));
    return () =>
      readPosition({ path: 'x.pth', value } as unknown as Checkpoint, { seed: 5, stepsPerEpoch: 10 });
  };
  const sound = { epoch: 1, batch: null, steps_per_epoch: 4, seed: 7 };
  expect(read(sound)()).toEqual({ epoch: 1, batch: null, stepsPerEpoch: 4, seed: 7, maxAccuracy: 50 });
  const refused = (key: string) =>
    expect.objectContaining({
      code: 'ERR_CHECKPOINT_MISMATCH',
      message: `x.pth: ${key} should be a number, not string`,
    });
  for (const key of Object.keys(sound)) {
    expect(read({ ...sound, [key]: 'one' })).toThrow(refused(`position.${key}`));
  }
  for (const key of ['max_accuracy', 'epoch']) expect(read({}, { [key]: 'one' })).toThrow(refused(key));
});

/** The training that the checkpoints of the reference are of, before its first step. */
async function withTraining(use: (trained: Trained) => Promise<void>, lr = 1e-3): Promise<void> {
  const config = loadConfig({ opts: ['TRAIN.LR', String(lr)] });
  const model = await loadTiny();
  model.freeze((name) => !/visual\.|mit|prompts/.test(name));
  const task = Object.assign(Object.create(XclipTask.prototype) as XclipTask, { model });
  const optimizer = new AdamW(parameterGroups(model, config), { betas: config.TRAIN.BETAS });
  const schedule = new CosineSchedule(optimizer, { totalSteps: 30, warmupSteps: 10, minLr: lr / 100 });
  const scaler = new LossScaler({ device: 'cpu' });
  try {
    await use({ config, task, optimizer, schedule, scaler });
  } finally {
    for (const own of [scaler, optimizer, model]) own.dispose();
  }
}

type Dict = Map<PyValue, PyValue>;

/** Step and moments of each parameter, by its number. */
async function momentsIn(optimizer: PyValue): Promise<[PyValue, unknown[]][]> {
  const state = (optimizer as Dict).get('state') as Dict;
  const read = async (own: Dict) => {
    const step = own.get('step') as RawTensor | number;
    const moments = ['exp_avg', 'exp_avg_sq'].map((name) => (own.get(name) as RawTensor).float32());
    return [typeof step === 'number' ? step : await step.item(), ...(await Promise.all(moments))];
  };
  return Promise.all(
    [...state].map(async ([number, own]) => [number, await read(own as Dict)] as const),
  ).then((all) => all.map(([number, own]) => [number, own]));
}

test('training goes on from a checkpoint of the reference: moments, step counts and rates are its own', async () => {
  await using checkpoint = await readCheckpoint(goldenPath('tiny.pth'));
  const value = checkpoint.value as Dict;
  const theirs = value.get('optimizer') as Dict;
  await withTraining(async (trained) => {
    await restore(checkpoint, trained);
    expect(await momentsIn(await trained.optimizer.stateDict())).toEqual(await momentsIn(theirs));
    const groups = theirs.get('param_groups') as Dict[];
    expect(trained.optimizer.groups.map(({ lr }) => lr)).toEqual(groups.map((group) => group.get('lr')));

    const others = new Map([...value].filter(([key]) => key !== 'lr_scheduler'));
    const damaged = { path: checkpoint.path, value: others } as unknown as Checkpoint;
    await expect(restore(damaged, trained)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_MISMATCH' });
  });
});

test('what the reference reads back of optimizer and schedule is what it wrote itself', async () => {
  await using theirs = await readCheckpoint(goldenPath('tiny.pth'));
  const path = join(folder, 'own.pth');
  await withTraining(async (trained) => {
    await restore(theirs, trained);
    await saveCheckpoint(path, trained, readPosition(theirs, { seed: 1, stepsPerEpoch: 10 })!);
  }, 8e-6);
  await using own = await readCheckpoint(path);
  const parts = ({ value }: Checkpoint) => {
    const all = value as Dict;
    return [
      ...((all.get('optimizer') as Dict).get('param_groups') as Dict[]),
      all.get('lr_scheduler') as Dict,
    ];
  };
  for (const [i, part] of parts(own).entries()) {
    const same = [...part.keys()].map((key) => [key, parts(theirs)[i]!.get(key)] as const);
    expect(part).toEqual(new Map(same));
  }
  expect(parts(own)).toHaveLength(parts(theirs).length);
});

test('a checkpoint has the loss scale, the rates that training began with, and for the reference the last whole epoch', async () => {
  const path = join(folder, checkpointName(3, 7));
  await withTraining(async (trained) => {
    trained.scaler!.loadStateDict(new Map(Object.entries({ scale: 512, _growth_tracker: 5 })));
    trained.schedule.stepUpdate(5);
    const position = { epoch: 3, batch: 7, stepsPerEpoch: 10, seed: 1, maxAccuracy: 50 };
    await saveCheckpoint(path, trained, position);
    await using saved = await readCheckpoint(path);
    expect(readPosition(saved, { seed: 9, stepsPerEpoch: 10 })).toEqual(position);
    const value = saved.value as Dict;
    expect(value.get('epoch')).toBe(2);
    const groups = (value.get('optimizer') as Dict).get('param_groups') as Dict[];
    const rates = groups.map((group) => [group.get('lr'), group.get('initial_lr')]);
    expect(rates).toEqual(trained.optimizer.groups.map(({ lr, initialLr }) => [lr, initialLr]));
    expect(rates[0]).toEqual([expect.closeTo(5e-4, 9), 1e-3]);
    await withTraining(async (resumed) => {
      await restore(saved, resumed);
      expect([...(await resumed.scaler!.stateDict())]).toEqual([...(await trained.scaler!.stateDict())]);
    });
    await saveCheckpoint(path, trained, { ...position, batch: null });
    await using whole = await readCheckpoint(path);
    expect((whole.value as Dict).get('epoch')).toBe(3);
  });
});
