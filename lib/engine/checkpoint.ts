import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/error';
import { systemReason } from '../base/system_reason';
import type { Config } from '../config/schema';
import { type Checkpoint, PyFloat, toPlain, writeTorch } from '../io';
import { writeError } from '../io/atomic_file';
import { rawStateDict, type Task } from '../models';
import type { AdamW } from '../optim/adamw';
import type { LossScaler } from '../optim/loss_scale';
import type { CosineSchedule } from '../optim/schedule';

/** Where a run is. With the parameters and the optimizer this is all of its state: every random draw depends on it. */
export interface Position {
  /** The last epoch that was worked on, from 0. */
  epoch: number;
  /** Micro-batches of `epoch` that the parameters have learnt from; null when it is complete and validated. */
  batch: number | null;
  /** Micro-batches in an epoch. */
  stepsPerEpoch: number;
  seed: number;
  /** Best validation top-1 so far, in percent. */
  maxAccuracy: number;
}

/** The parts of a run that a checkpoint holds. */
export interface Trained {
  config: Config;
  task: Task;
  optimizer: AdamW;
  schedule: CosineSchedule;
  scaler: LossScaler | null;
}

/**
 * Writes a checkpoint in the layout of the reference (keys model, optimizer, lr_scheduler, max_accuracy, epoch, config),
 * which its own code resumes from and `torch.load(path, weights_only=True)` reads, plus `position` for an exact resume.
 * `epoch` is the last complete epoch. The file appears whole or not at all.
 *
 * @throws ERR_FILE_WRITE, ERR_ABORTED
 */
export async function saveCheckpoint(
  path: string,
  { config, task, optimizer, schedule, scaler }: Trained,
  position: Position,
): Promise<void> {
  await writeTorch(path, {
    model: rawStateDict(task.model),
    optimizer: await optimizer.stateDict(),
    lr_scheduler: schedule.stateDict(),
    ...(scaler ? { scaler: await scaler.stateDict() } : {}),
    max_accuracy: new PyFloat(position.maxAccuracy),
    epoch: position.batch === null ? position.epoch : position.epoch - 1,
    config,
    position: {
      epoch: position.epoch,
      batch: position.batch,
      steps_per_epoch: position.stepsPerEpoch,
      seed: position.seed,
    },
  });
}

/**
 * Continues from a training checkpoint, ours or the reference's: the model's weights, and, unless it holds weights only,
 * optimizer and schedule. Whatever does not fit is an error.
 *
 * @throws ERR_CHECKPOINT_MISMATCH, ERR_ABORTED
 */
export async function restore(
  { path, value }: Checkpoint,
  { task, optimizer, schedule, scaler }: Trained,
  signal?: AbortSignal,
): Promise<void> {
  await task.load(path, { signal });
  if (!(value instanceof Map) || !value.has('optimizer')) return;
  await optimizer.loadStateDict(value.get('optimizer'), path);
  schedule.loadStateDict(value.get('lr_scheduler'), path);
  if (value.has('scaler')) scaler?.loadStateDict(value.get('scaler'), path);
}

/**
 * Where the run of a checkpoint stood; null when it holds weights only. A checkpoint of the reference says neither seed
 * nor number of steps: its own are taken to be those of this run.
 *
 * @throws ERR_CHECKPOINT_MISMATCH when it is damaged, or within an epoch of another number of steps
 */
export function readPosition(
  { path, value }: Checkpoint,
  { seed, stepsPerEpoch }: Pick<Position, 'seed' | 'stepsPerEpoch'>,
): Position | null {
  if (!(value instanceof Map) || !value.has('optimizer')) return null;
  const maxAccuracy = numberIn(path, 'max_accuracy', value.get('max_accuracy'));
  const own = toPlain(value.get('position')) as Record<string, unknown> | undefined;
  if (!own) {
    const epoch = numberIn(path, 'epoch', value.get('epoch'));
    return { epoch, batch: null, stepsPerEpoch, seed, maxAccuracy };
  }
  const position: Position = {
    epoch: numberIn(path, 'position.epoch', own.epoch),
    batch: own.batch === null ? null : numberIn(path, 'position.batch', own.batch),
    stepsPerEpoch: numberIn(path, 'position.steps_per_epoch', own.steps_per_epoch),
    seed: numberIn(path, 'position.seed', own.seed),
    maxAccuracy,
  };
  if (position.batch !== null && position.stepsPerEpoch !== stepsPerEpoch) {
    throw new CodedError(
      'ERR_CHECKPOINT_MISMATCH',
      `${path} was saved within an epoch of ${position.stepsPerEpoch} batches, and an epoch now has ${stepsPerEpoch}; ` +
        'use the same training list and TRAIN.BATCH_SIZE, or a checkpoint of a whole epoch',
    );
  }
  return position;
}

function numberIn(path: string, key: string, value: unknown): number {
  if (typeof value === 'number') return value;
  throw new CodedError('ERR_CHECKPOINT_MISMATCH', `${path}: ${key} should be a number, not ${typeof value}`);
}

/** The file name of a checkpoint: of a whole epoch, or of `batch` micro-batches of it. */
export function checkpointName(epoch: number, batch: number | null): string {
  return batch === null ? `ckpt_epoch_${epoch}.pth` : `ckpt_epoch_${epoch}_batch_${batch}.pth`;
}

interface Found {
  name: string;
  epoch: number;
  batch: number;
}

/**
 * The checkpoint in `folder` that is furthest along, by the numbers in its name (best.pth is never it); null when there
 * is none or no folder.
 *
 * @throws ERR_FILE_READ
 */
export async function newestCheckpoint(folder: string): Promise<string | null> {
  const found = await listCheckpoints(folder);
  found.sort((a, b) => b.epoch - a.epoch || b.batch - a.batch);
  return found[0] ? join(folder, found[0].name) : null;
}

/** Removes the checkpoints within epochs that `epoch` has completed. @throws ERR_FILE_WRITE */
export async function removeInterrupted(folder: string, epoch: number): Promise<void> {
  for (const found of await listCheckpoints(folder)) {
    if (found.batch === Number.POSITIVE_INFINITY || found.epoch > epoch) continue;
    const path = join(folder, found.name);
    await unlink(path).catch((error) => {
      throw writeError(path, error);
    });
  }
}

async function listCheckpoints(folder: string): Promise<Found[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new CodedError('ERR_FILE_READ', `${folder} cannot be read: ${systemReason(cause)}`, { cause });
  }
  return names.flatMap((name) => {
    const match = /^ckpt_epoch_(\d+)(?:_batch_(\d+))?\.pth$/.exec(name);
    if (!match) return [];
    const batch = match[2] === undefined ? Number.POSITIVE_INFINITY : Number(match[2]);
    return [{ name, epoch: Number(match[1]), batch }];
  });
}
