import { posix } from 'node:path';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { parseLabels, readList } from './list_file';
import { isArchiveName } from './sources/archive_index';
import { readLabelledShards } from './sources/labelled_shards';
import { type ListingOptions, listingKeys } from './sources/listing';
import { openStore, type Source, type VideoStore } from './sources/store';

export type { Source } from './sources/store';

/** One labelled video. */
export class VideoSample {
  constructor(
    /** Name as the list writes it. */
    readonly name: string,
    /** Class numbers, at least one; all but a few data sets have one. */
    readonly labels: readonly number[],
    /** Where the list says so, as `train.txt:17`. */
    readonly where: string,
    private readonly store: Pick<VideoStore, 'locate' | 'describe'>,
  ) {}

  /** The first label. */
  get label(): number {
    return this.labels[0]!;
  }

  /** Where its bytes are. @throws ERR_FILE_NOT_FOUND, ERR_LIST_FORMAT (several could be meant), in archives */
  get source(): Source {
    return this.store.locate(this.name);
  }

  /** Path of the video, or archive and member, for messages. */
  get location(): string {
    return this.store.describe(this.name);
  }
}

/** Refuses names that would not be below another root. @throws ERR_LIST_FORMAT */
export function requirePlainName({ name, where }: VideoSample): void {
  if (!name.startsWith('/') && !name.startsWith('../') && posix.normalize(name) === name) return;
  throw new CodedError(
    'ERR_LIST_FORMAT',
    `${where}: "${name}" must be a plain path below the root, so that it can be the same elsewhere`,
  );
}

/** How a list is read. */
export interface ListOptions extends ListingOptions {
  /**
   * Where the videos are: the folder that relative names start from, a `.tar`, a `.zip` without compression, or a range
   * of archives as `train-{000000..000146}.tar`. Members of archives are found by their path or, where it is unique, by
   * its last part. Not needed in place of a list: archives with labels hold the videos themselves.
   */
  root?: string;
  /** When given, labels must be below it. */
  numClasses?: number;
}

const keys: KnownOptions<ListOptions> = { ...listingKeys, root: true, numClasses: true };

/**
 * Labelled videos in the order of their list. Opening a data set does not touch the videos; one that is missing fails
 * when it is loaded, under the loader's rule for bad samples.
 *
 * @example
 * const train = await VideoDataset.fromList('train.txt', { root: 'videos', numClasses: 400 });
 * train.at(0).source; // where the bytes of its first video are
 */
export class VideoDataset {
  constructor(
    readonly samples: readonly VideoSample[],
    /** Where they are, for messages; undefined when the list names archives itself. */
    readonly root?: string,
  ) {}

  /** True when a video has several labels. */
  get isMultiLabel(): boolean {
    return this.samples.some(({ labels }) => labels.length > 1);
  }

  /** Number of videos. */
  get length(): number {
    return this.samples.length;
  }

  at(index: number): VideoSample {
    const sample = this.samples[index];
    if (!sample) {
      throw new CodedError(
        'ERR_INDEX_RANGE',
        `sample ${index} is outside the ${this.length} samples of the list`,
      );
    }
    return sample;
  }

  /**
   * Reads a list: lines `name label`, split at the last white space so that names may contain spaces, or, in a file
   * that ends in `.json`, an array of `{ "filename": string, "label": number }`. A video of several classes has `3,17` or `[3, 17]`. In place of a
   * list there may be archives with a label beside each video, as WebDataset writes them; `root` is not used then.
   * @throws ERR_ARGUMENT without `root`, ERR_FILE_NOT_FOUND (list or root), ERR_FILE_READ, ERR_LIST_FORMAT, ERR_LABEL_RANGE: each names file and
   *   line; ERR_ARCHIVE_FORMAT for a damaged archive
   */
  static async fromList(listPath: string, options: ListOptions): Promise<VideoDataset> {
    checkKnownOptions('VideoDataset.fromList', options, keys);
    if (isArchiveName(listPath)) return VideoDataset.fromShards(listPath, options);
    const { root, numClasses, ...listing } = options;
    if (root === undefined) {
      throw new CodedError(
        'ERR_ARGUMENT',
        `${listPath}: name the folder or archive of its videos as root; only archives with labels need none`,
      );
    }
    const store = await openStore(root, listing);
    const entries = await readList(listPath);
    return new VideoDataset(
      entries.map(({ name, labels, where }) => {
        checkRange(labels, where, numClasses);
        return new VideoSample(name, labels, where, store);
      }),
      root,
    );
  }

  private static async fromShards(
    pattern: string,
    { numClasses, ...options }: ListOptions,
  ): Promise<VideoDataset> {
    const members = await readLabelledShards(pattern, options);
    if (members.length === 0) throw new CodedError('ERR_LIST_FORMAT', `${pattern}: there is no video inside`);
    return new VideoDataset(
      members.map(({ name, archive, offset, length, label: written, where }) => {
        const labels = parseLabels(written, where);
        checkRange(labels, where, numClasses);
        const source = { path: archive, offset, length };
        return new VideoSample(name, labels, where, { locate: () => source, describe: () => where });
      }),
    );
  }
}

/**
 * Samples in the order in which their bytes lie in archives, so that work on all of them reads a disk from its beginning to
 * its end instead of jumping about. Those in folders, and those that are not there, stay in the order of the list, before
 * the others.
 */
export function inStoredOrder(samples: readonly VideoSample[]): VideoSample[] {
  const places = samples.map((sample, place) => {
    const { path = '', offset } = archivedSource(sample) ?? {};
    return offset === undefined
      ? { sample, place, path: '', at: place }
      : { sample, place, path, at: offset };
  });
  places.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.at - b.at || a.place - b.place));
  return places.map(({ sample }) => sample);
}

function archivedSource(sample: VideoSample): Source | undefined {
  try {
    return sample.source;
  } catch {
    return undefined; // whoever works on it is told
  }
}

function checkRange(labels: readonly number[], where: string, numClasses: number | undefined): void {
  const label = Math.max(...labels);
  if (numClasses !== undefined && label >= numClasses) {
    throw new CodedError(
      'ERR_LABEL_RANGE',
      `${where}: label ${label} is outside the ${numClasses} classes (0..${numClasses - 1}); ` +
        'correct the list, or set the number of classes to what the list uses',
    );
  }
}
