import { stat } from 'node:fs/promises';
import { CodedError } from '../base/error';
import type { Config } from '../config/schema';
import { readLabels } from '../data/labels';
import { VideoLoader } from '../data/loader';
import { type Planner, testPlanner, trainPlanner } from '../data/plan';
import type { ListingOptions } from '../data/sources/listing';
import { reorderFrames } from '../data/transforms/frame_order';
import { VideoDataset } from '../data/video_dataset';
import type { ProcessGroup } from '../distributed/process_group';
import { readError } from '../io/file_bytes';
import { type Device, resolveDevice } from '../native/device';

/** The class names that a configuration means. @throws ERR_LABELS, ERR_CONFIG_VALUE when their number is another */
export function classNamesOf(config: Config): string[] {
  const { LABEL_LIST, NUM_CLASSES } = config.DATA;
  const names = readLabels(LABEL_LIST);
  if (names.length !== NUM_CLASSES) {
    throw new CodedError(
      'ERR_CONFIG_VALUE',
      `DATA.NUM_CLASSES is ${NUM_CLASSES}, but DATA.LABEL_LIST ${LABEL_LIST} has ${names.length} names; make them agree`,
    );
  }
  return names;
}

/** The labelled videos of DATA.TRAIN_FILE or DATA.VAL_FILE. @throws as {@link VideoDataset.fromList} */
export function datasetOf(
  config: Config,
  key: 'TRAIN_FILE' | 'VAL_FILE',
  listing: ListingOptions = {},
): Promise<VideoDataset> {
  const list = config.DATA[key];
  if (list === '') {
    throw new CodedError('ERR_CONFIG_VALUE', `DATA.${key} is empty; name a list with lines "file label"`);
  }
  return VideoDataset.fromList(list, {
    root: config.DATA.ROOT || '.',
    numClasses: config.DATA.NUM_CLASSES,
    ...listing,
  });
}

/** Plans of training samples, before mixing. @throws ERR_CONFIG_VALUE when nothing chooses the crop */
export function trainPlannerOf({ DATA, AUG }: Config): Planner {
  if (!AUG.MULTI_SCALE_CROP && AUG.SHIFT === 0) {
    throw new CodedError(
      'ERR_CONFIG_VALUE',
      'AUG.SHIFT must be at least 1 when AUG.MULTI_SCALE_CROP is off: something has to choose the crop',
    );
  }
  return trainPlanner({
    numFrames: DATA.NUM_FRAMES,
    inputSize: DATA.INPUT_SIZE,
    shift: AUG.MULTI_SCALE_CROP ? 0 : AUG.SHIFT,
    flip: AUG.FLIP,
    colorJitter: AUG.COLOR_JITTER,
    grayScale: AUG.GRAY_SCALE,
  });
}

/** Plans of test samples, in `clips` x `crops` views. */
export function testPlannerOf({ DATA, TEST }: Config, views: { clips: number; crops: number }): Planner {
  const planner = testPlanner({
    numFrames: DATA.NUM_FRAMES,
    inputSize: DATA.INPUT_SIZE,
    numClips: views.clips,
    numCrops: views.crops === 3 ? 3 : 1,
    randomClips: TEST.REFERENCE_SAMPLING,
  });
  return reorderFrames(planner, DATA.NUM_FRAMES, TEST.FRAME_ORDER);
}

/** Mixed, augmented batches in a new order each epoch. @throws ERR_CONFIG_VALUE when there is not one full batch */
export function trainLoader(
  config: Config,
  dataset: VideoDataset,
  seed: number,
  signal?: AbortSignal,
  group: ProcessGroup | null = null,
): VideoLoader {
  const { DATA, AUG, TRAIN } = config;
  const loader = new VideoLoader({
    dataset,
    planner: trainPlannerOf(config),
    batchSize: TRAIN.BATCH_SIZE,
    seed,
    training: true,
    // As in the reference, MIXUP alone decides whether batches are mixed.
    mix:
      AUG.MIXUP > 0
        ? {
            numClasses: DATA.NUM_CLASSES,
            smoothing: AUG.LABEL_SMOOTH,
            mixup: AUG.MIXUP,
            cutmix: AUG.CUTMIX,
            switchProbability: AUG.MIXUP_SWITCH_PROB,
          }
        : undefined,
    multiLabel: { numClasses: DATA.NUM_CLASSES, smoothing: AUG.LABEL_SMOOTH },
    ...rulesOf(config),
    pixelWork: pixelWorkOf(config),
    signal,
    ...placeIn(group),
  });
  if (loader.batchesPerEpoch === 0) {
    throw new CodedError(
      'ERR_CONFIG_VALUE',
      `${DATA.TRAIN_FILE} has ${dataset.length} videos, less than one batch of TRAIN.BATCH_SIZE ${TRAIN.BATCH_SIZE}` +
        (group ? ` for each of ${group.worldSize} processes` : ''),
    );
  }
  return loader;
}

/** Every video once over all processes, in `clips` x `crops` views. */
export function testLoader(
  config: Config,
  dataset: VideoDataset,
  views: { clips: number; crops: number },
  seed: number,
  signal?: AbortSignal,
  group: ProcessGroup | null = null,
): VideoLoader {
  return new VideoLoader({
    dataset,
    planner: testPlannerOf(config, views),
    batchSize: config.TEST.BATCH_SIZE,
    seed,
    training: false,
    ...rulesOf(config),
    pixelWork: pixelWorkOf(config),
    signal,
    ...placeIn(group),
  });
}

function placeIn(group: ProcessGroup | null): { rank: number; worldSize: number } {
  return { rank: group?.rank ?? 0, worldSize: group?.worldSize ?? 1 };
}

/** What happens to videos that cannot be read, and how long reading one may take. */
function rulesOf({ DATA }: Config) {
  return {
    onError: DATA.ON_ERROR,
    maxBadShare: DATA.MAX_BAD_SHARE,
    deadlineMs: 1000 * DATA.DEADLINE,
  };
}

/** A GPU takes bytes and does the rest itself; on the CPU pixels are finished while they are decoded. */
function pixelWorkOf({ MODEL }: Config): 'host' | 'device' {
  return resolveDevice(MODEL.DEVICE as Device) === 'cuda' ? 'device' : 'host';
}

/**
 * Refuses a file or folder that is not there or that the system does not lead to, before any work.
 *
 * @param key the configuration key that names it
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ
 */
export async function requireFile(key: string, path: string): Promise<void> {
  try {
    await stat(path);
  } catch (cause) {
    const { code, message } = readError(path, cause) as CodedError;
    throw new CodedError(code, `${key}: ${message}`, { cause });
  }
}
