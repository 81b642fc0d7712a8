import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkpointName,
  newestCheckpoint,
  readPosition,
  removeInterrupted,
} from '../../lib/engine/checkpoint';
import { readCheckpoint } from '../../lib/io';
import { goldenPath } from '../support/golden';

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
