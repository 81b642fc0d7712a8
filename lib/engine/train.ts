import { join } from 'node:path';
import { CodedError, hasCode } from '../base/error';
import type { VideoLoader } from '../data/loader';
import type { VideoDataset } from '../data/video_dataset';
import { GradientBuckets, shareParameters } from '../distributed/data_parallel';
import type { Checkpoint } from '../io';
import { AdamW } from '../optim/adamw';
import { LossScaler } from '../optim/loss_scale';
import { CosineSchedule } from '../optim/schedule';
import { type Device, resolveDevice, type Tensor } from '../tensor/tensor';
import {
  checkpointName,
  type Position,
  readPosition,
  removeInterrupted,
  restore,
  saveCheckpoint,
} from './checkpoint';
import { accuracyEvent, evaluateViews, type RunContext, type ViewEvaluation, type Views } from './context';
import { RecordedSteps } from './recorded_steps';
import { trainLoader } from './setup';
import { sharedStop } from './shared_stop';
import { trainEpoch } from './train_epoch';
import type { Training } from './train_step';

/** The views of the test after training, as in the reference. */
const finalViews = { clips: 4, crops: 3 };

/**
 * Trains all epochs that are left: each is followed by a test, and by a checkpoint when SAVE_FREQ says so, when it is the
 * last, and as best.pth when its top-1 is the best so far. At the end comes a multi-view test of the last weights.
 *
 * @param begin called once everything fits, before anything is written
 * @throws ERR_ABORTED after an abort, once a checkpoint of what was learnt is saved; its message names the file
 */
export async function train(
  context: RunContext,
  dataset: VideoDataset,
  begin: () => Promise<void>,
): Promise<{ evaluation: ViewEvaluation; maxAccuracy: number }> {
  const { config, task } = context;
  const device = resolveDevice(config.MODEL.DEVICE as Device);
  await context.group?.connect(device);
  const tools: Tools = {
    device,
    optimizer: new AdamW(task.parameterGroups(config), { betas: config.TRAIN.BETAS }),
    scaler: task.computeDtype === 'float16' ? new LossScaler({ device }) : null,
    recorded: device === 'cuda' && config.TRAIN.CUDA_GRAPH && !context.group ? new RecordedSteps() : null,
  };
  try {
    const start = await prepare(context, dataset, tools);
    await begin();
    announce(start, context.checkpoint);
    return await trainEpochs(context, start);
  } finally {
    for (const own of [tools.recorded, tools.scaler, tools.optimizer]) own?.dispose();
  }
}

async function trainEpochs(
  context: RunContext,
  { first, startBatch, seed, ...start }: Start,
): Promise<{ evaluation: ViewEvaluation; maxAccuracy: number }> {
  const { config, emit, group } = context;
  const epochs = config.TRAIN.EPOCHS;
  const { training } = start;
  const steps = training.loader.batchesPerEpoch;
  let { maxAccuracy, lastSaved } = start;
  let unsaved = false;

  const save = async (name: string, epoch: number, batch: number | null): Promise<string> => {
    const path = join(config.OUTPUT, name);
    await saveCheckpoint(path, training, { epoch, batch, stepsPerEpoch: steps, seed, maxAccuracy });
    emit({ kind: 'checkpoint', path, epoch, batch });
    return path;
  };
  const saveForResume = async (epoch: number, batch: number | null) => {
    if (config.OUTPUT !== '') lastSaved = await save(checkpointName(epoch, batch), epoch, batch);
    // Rank 0 alone writes; the others wait for it, and know of it.
    if (group) lastSaved = await group.first(lastSaved);
    if (lastSaved === null) return;
    unsaved = false;
  };
  const stop = async (epoch: number, batch: number): Promise<never> => {
    if (unsaved) await saveForResume(epoch, batch);
    throw stopped(epoch, batch, lastSaved);
  };
  const evaluated = (views: Views, epoch: number): Promise<ViewEvaluation> =>
    evaluateViews(context, views, seed)
      .catch(async (error) => {
        if (await training.recorded?.makeRoom(training, error)) return evaluateViews(context, views, seed);
        throw error;
      })
      .catch((error) => {
        if (hasCode(error, 'ERR_ABORTED')) return stop(epoch, steps);
        throw error;
      });

  for (let epoch = first; epoch < epochs; epoch++) {
    const from = epoch === first ? startBatch : 0;
    const started = performance.now();
    const before = await countersOf(training);
    const progress = await trainEpoch(training, epoch, from);
    unsaved ||= progress.batch > from;
    if (progress.aborted) await stop(epoch, progress.batch);
    const { failed, damaged } = await countersOf(training);
    emit({
      kind: 'epoch',
      epoch,
      seconds: (performance.now() - started) / 1000,
      loss: progress.loss,
      failed: failed - before.failed,
      damaged: damaged - before.damaged,
    });

    const views = { clips: config.TEST.NUM_CLIP, crops: config.TEST.NUM_CROP };
    const evaluation = await evaluated(views, epoch);
    const isBest = evaluation.top1 > maxAccuracy;
    maxAccuracy = Math.max(maxAccuracy, evaluation.top1);
    emit(accuracyEvent(evaluation, views, epoch, maxAccuracy));
    // Before the epoch's own checkpoint, from which on this accuracy is no longer a new best: a run may be killed in between.
    if (isBest && config.OUTPUT !== '') await save('best.pth', epoch, null);
    if (epoch % config.SAVE_FREQ === 0 || epoch === epochs - 1) {
      await saveForResume(epoch, null);
      if (config.OUTPUT !== '') await removeInterrupted(config.OUTPUT, epoch);
    }
  }
  const evaluation = await evaluated(finalViews, epochs - 1);
  emit(accuracyEvent(evaluation, finalViews, null, null));
  return { evaluation, maxAccuracy };
}

/** Where training begins, and all that it works on. */
interface Start {
  training: Training;
  position: Position | null;
  first: number;
  startBatch: number;
  seed: number;
  maxAccuracy: number;
  /** The file that holds the present state; null at the very beginning. */
  lastSaved: string | null;
}

/** What training makes and releases. */
type Tools = Pick<Training, 'device' | 'optimizer' | 'scaler' | 'recorded'>;

async function prepare(
  { config, task, checkpoint, emit, signal: asked, group }: RunContext,
  dataset: VideoDataset,
  tools: Tools,
): Promise<Start> {
  const { signal, agree } = sharedStop(asked, group);
  const loaderOf = (seed: number): VideoLoader => trainLoader(config, dataset, seed, signal, group);
  const fresh = loaderOf(config.SEED);
  const stepsPerEpoch = fresh.batchesPerEpoch;
  const position = checkpoint && readPosition(checkpoint, { seed: config.SEED, stepsPerEpoch });
  const seed = position?.seed ?? config.SEED;
  const schedule = new CosineSchedule(tools.optimizer, {
    totalSteps: config.TRAIN.EPOCHS * stepsPerEpoch,
    warmupSteps: Math.floor(config.TRAIN.WARMUP_EPOCHS * stepsPerEpoch),
    minLr: config.TRAIN.LR / 100,
  });
  const loader = seed === config.SEED ? fresh : loaderOf(seed);
  const trained = new Set(tools.optimizer.parameters());
  const inOrder = task.model.parameters().filter((parameter) => trained.has(parameter));
  const buckets = group && new GradientBuckets(inOrder, group);
  const shared = { group, buckets, agree };
  const training: Training = { config, task, dataset, loader, schedule, seed, emit, ...shared, ...tools };
  if (checkpoint) await restore(checkpoint, training, asked);
  if (group) shareParameters(task.model.parameters(), group);
  return {
    training,
    position,
    first: position === null ? 0 : position.batch === null ? position.epoch + 1 : position.epoch,
    startBatch: position?.batch ?? 0,
    seed,
    maxAccuracy: position?.maxAccuracy ?? 0,
    lastSaved: position && checkpoint!.path,
  };
}

/** What all processes together met so far. */
async function countersOf({ loader, group }: Training): Promise<{ failed: number; damaged: number }> {
  const { failed, damaged } = loader.counters;
  const everyone = group ? await group.exchange({ failed, damaged }) : [{ failed, damaged }];
  const sum = (pick: (counters: { failed: number; damaged: number }) => number) =>
    everyone.reduce((total, counters) => total + pick(counters), 0);
  return { failed: sum((counters) => counters.failed), damaged: sum((counters) => counters.damaged) };
}

function announce({ training, position }: Start, checkpoint: Checkpoint | null): void {
  const { config, emit, optimizer, task } = training;
  const say = (text: string, warning = false) => emit({ kind: 'message', text, warning });
  const count = (tensors: readonly Tensor[]) =>
    tensors.reduce((sum, { size }) => sum + size, 0).toLocaleString('en-US');
  const [all, trained] = [count(task.model.parameters()), count(optimizer.parameters())];
  say(
    `${config.MODEL.ARCH}: ${all} parameters, ${trained} of them trained, computing in ${task.computeDtype}`,
  );
  if (checkpoint === null) return;
  const { path } = checkpoint;
  if (position === null) {
    say(
      `${path} holds weights only, no optimizer state: training starts at epoch 0 with these weights`,
      true,
    );
    return;
  }
  const where = position.batch === null ? '' : `, stopped at batch ${position.batch}`;
  say(`resuming from ${path} (epoch ${position.epoch}${where})`);
  if (position.seed !== config.SEED) {
    say(`the run goes on with its SEED ${position.seed}, not ${config.SEED}`, true);
  }
}

function stopped(epoch: number, batch: number, lastSaved: string | null): CodedError {
  const where = `stopped in epoch ${epoch} after ${batch} batches`;
  return new CodedError(
    'ERR_ABORTED',
    lastSaved ? `${where}; continue with --resume ${lastSaved}` : `${where}; nothing was saved`,
  );
}
