import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { throwIfAborted, withReason } from '../../base/abort';
import { checkKnownOptions, checkSize, checkText, type KnownOptions, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { Philox, streamOf } from '../../base/philox';
import { writeError } from '../../io/atomic_file';
import { makeFolder, writeText } from '../../io/text_file';
import { videoAddon } from '../../native/video';
import { Limiter } from '../limiter';
import { formatLabels } from '../prepare/classes';
import { type Specification, type SyntheticClass, syntheticClasses } from './classes';
import { drawVideo } from './draw';

/** Settings of {@link writeSyntheticDataset}. */
export interface SyntheticOptions {
  specification: Specification | 'both';
  /** Training videos of each seen class. */
  trainPerClass: number;
  /** Held-out videos of each class, seen and unseen. */
  valPerClass: number;
  /** The pictures are a function of the seed; more videos per class leave the others as they are. */
  seed: number;
  /** Side of the square picture in pixels, even (default 64). */
  side?: number;
  /** Frames per video (default 32). */
  frameCount?: number;
  signal?: AbortSignal;
  /** Called after each video. */
  onProgress?: (done: number, total: number) => void;
}

const keys: KnownOptions<SyntheticOptions> = {
  specification: true,
  trainPerClass: true,
  valPerClass: true,
  seed: true,
  side: true,
  frameCount: true,
  signal: true,
  onProgress: true,
};

/** What was written. Lists have lines `name label`; a label counts the lines of its own class table. */
export interface SyntheticDataset {
  /** Class names by label: of `trainList` and `valList`, and of `unseenList`. */
  seen: string[];
  unseen: string[];
  videoFolder: string;
  trainList: string;
  valList: string;
  unseenList: string;
  seenLabels: string;
  unseenLabels: string;
  videoCount: number;
  /** Codec of the files, `h264` or `mpeg4`. */
  codec: string;
}

/** One video to be made. */
interface Job {
  what: SyntheticClass;
  name: string;
  random: Philox;
}

/** Held-out videos use numbers from here on, so they stay the same however many training videos there are. */
const heldOutStart = 1 << 20;
const framesPerSecond = 16;

/**
 * Writes an action-recognition data set of real encoded videos: `videos/*.mp4`, `train.txt`, `val.txt`, `unseen.txt`
 * (classes that training never sees), `labels_seen.csv`, `labels_unseen.csv`. Lists of an earlier call go first and the new
 * ones appear last, so a folder that has them is complete.
 * @throws ERR_ARGUMENT, ERR_FILE_WRITE, ERR_VIDEO_ENCODE, ERR_ABORTED
 *
 * @example
 * await writeSyntheticDataset('demo', { specification: 'both', trainPerClass: 40, valPerClass: 5, seed: 1 });
 */
export async function writeSyntheticDataset(
  root: string,
  options: SyntheticOptions,
): Promise<SyntheticDataset> {
  const what = 'writeSyntheticDataset';
  checkText(what, 'root', root);
  checkKnownOptions(what, options, keys);
  const { specification, trainPerClass, valPerClass, seed, signal } = options;
  const { side = 64, frameCount = 32 } = options;
  if (!['easy', 'hard', 'both'].includes(specification))
    throw wrongKind(what, 'specification', 'easy, hard or both', specification);
  checkSize(what, 'seed', seed, 0);
  checkCounts(trainPerClass, valPerClass, side, frameCount);
  const { seen, unseen } = syntheticClasses(specification === 'both' ? ['easy', 'hard'] : [specification]);

  const jobs: Job[] = [];
  const lists = { train: '', val: '', unseen: '' };
  const plan = (list: keyof typeof lists, classes: SyntheticClass[], first: number, count: number) => {
    for (const [label, what] of classes.entries()) {
      const classStream = hashOf(what.name);
      for (let k = 0; k < count; k++) {
        const name = `${what.name.replaceAll(' ', '_')}_${list}_${String(k).padStart(3, '0')}.mp4`;
        jobs.push({ what, name, random: new Philox(seed, streamOf(classStream, first + k)) });
        lists[list] += `${name} ${label}\n`;
      }
    }
  };
  plan('train', seen, 0, trainPerClass);
  plan('val', seen, heldOutStart, valPerClass);
  plan('unseen', unseen, heldOutStart, valPerClass);

  const paths = {
    trainList: join(root, 'train.txt'),
    valList: join(root, 'val.txt'),
    unseenList: join(root, 'unseen.txt'),
    seenLabels: join(root, 'labels_seen.csv'),
    unseenLabels: join(root, 'labels_unseen.csv'),
  };
  const videoFolder = join(root, 'videos');
  await makeFolder(videoFolder);
  for (const path of Object.values(paths)) {
    await rm(path, { force: true }).catch((error) => {
      throw writeError(path, error);
    });
  }
  const codec = await encodeAll(jobs, videoFolder, frameCount, side, signal, options.onProgress);

  const names = (classes: SyntheticClass[]) => classes.map(({ name }) => name);
  await writeText(paths.seenLabels, formatLabels(names(seen)));
  await writeText(paths.unseenLabels, formatLabels(names(unseen)));
  await writeText(paths.unseenList, lists.unseen);
  await writeText(paths.valList, lists.val);
  await writeText(paths.trainList, lists.train);
  return { seen: names(seen), unseen: names(unseen), videoFolder, ...paths, videoCount: jobs.length, codec };
}

async function encodeAll(
  jobs: Job[],
  folder: string,
  frameCount: number,
  side: number,
  signal: AbortSignal | undefined,
  onProgress: SyntheticOptions['onProgress'],
): Promise<string> {
  const addon = videoAddon();
  const cancel = addon.createCancelToken();
  const stop = () => addon.cancel(cancel);
  signal?.addEventListener('abort', stop);
  // Pictures are drawn when a place is free, not ahead, so only a few videos are in memory.
  const limiter = new Limiter(2 * availableParallelism());
  let done = 0;
  let failed = false;
  let codec = '';
  const encode = async ({ what, name, random }: Job): Promise<void> => {
    if (failed) return;
    throwIfAborted(signal, 'writing the data set was aborted by its signal');
    const frames = drawVideo(what, frameCount, side, random);
    const size = { width: side, height: side, fps: framesPerSecond, quality: 3 };
    ({ codec } = await addon.encodeVideo(join(folder, name), size, frames, cancel));
    onProgress?.(++done, jobs.length);
  };
  try {
    const results = await Promise.allSettled(
      jobs.map((job) =>
        limiter
          .run(() => encode(job))
          .catch((error: unknown) => {
            failed = true;
            throw error;
          }),
      ),
    );
    const failure = results.find((result) => result.status === 'rejected');
    if (failure) throw withReason(failure.reason, signal);
    return codec;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** A stream number from a class name (FNV-1a, 26 bits): a class keeps its videos whatever else is written. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash & 0x3ffffff;
}

function checkCounts(trainPerClass: number, valPerClass: number, side: number, frameCount: number): void {
  const counts = { trainPerClass, valPerClass, side, frameCount };
  for (const [name, value] of Object.entries(counts)) {
    if (!Number.isInteger(value) || value < 1 || value >= heldOutStart) {
      throw new CodedError('ERR_ARGUMENT', `${name} must be a whole number from 1 on, got ${value}`);
    }
  }
  if (side % 2 !== 0 || side < 16)
    throw new CodedError('ERR_ARGUMENT', `side must be even and at least 16, got ${side}`);
}
