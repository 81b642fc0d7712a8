import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CodedError } from '../base/error';

/** Where the bytes of a video are: a whole file, or `length` bytes from `offset` of one (a member of an archive). */
export interface Source {
  path: string;
  offset?: number;
  length?: number;
}

/** One labelled video. */
export interface VideoSample {
  /** Name as the list writes it. */
  name: string;
  source: Source;
  label: number;
  /** Where the list says so, as `train.txt:17`. */
  where: string;
}

/** How a list is read. */
export interface ListOptions {
  /** Folder that relative names start from. */
  root: string;
  /** When given, labels must be below it. */
  numClasses?: number;
}

/**
 * Labelled videos in the order of their list. Opening a data set does not touch the videos; one that is missing fails
 * when it is loaded, under the loader's rule for bad samples.
 *
 * @example
 * const train = await VideoDataset.fromList('train.txt', { root: 'videos', numClasses: 400 });
 * train.at(0); // { name: 'abc.mp4', source: { path: '/data/videos/abc.mp4' }, label: 3, where: 'train.txt:1' }
 */
export class VideoDataset {
  constructor(readonly samples: readonly VideoSample[]) {}

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
   * that ends in `.json`, an array of `{ "filename": string, "label": number }`. Empty lines are ignored.
   * @throws ERR_FILE_NOT_FOUND (list or root), ERR_FILE_READ, ERR_LIST_FORMAT, ERR_LABEL_RANGE; each names file and line
   */
  static async fromList(listPath: string, options: ListOptions): Promise<VideoDataset> {
    await requireFolder(options.root);
    const text = await readText(listPath);
    const entries = listPath.endsWith('.json') ? parseJson(text, listPath) : parseLines(text, listPath);
    if (entries.length === 0) {
      throw new CodedError(
        'ERR_LIST_FORMAT',
        `${listPath}: the list has no entries; expected lines "name label"`,
      );
    }
    return new VideoDataset(entries.map((entry) => toSample(entry, options)));
  }
}

interface Entry {
  name: unknown;
  label: unknown;
  where: string;
}

function parseLines(text: string, listPath: string): Entry[] {
  return text.split(/\r?\n/).flatMap((raw, i): Entry[] => {
    const line = raw.trim();
    if (line === '') return [];
    const where = `${listPath}:${i + 1}`;
    const fields = /^(.*\S)\s+(\S+)$/.exec(line);
    if (!fields) {
      throw new CodedError('ERR_LIST_FORMAT', `${where}: expected "name label", got "${line}"`);
    }
    const label = /^[0-9]+$/.test(fields[2]!) ? Number(fields[2]) : fields[2];
    return [{ name: fields[1], label, where }];
  });
}

function parseJson(text: string, listPath: string): Entry[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    throw new CodedError('ERR_LIST_FORMAT', `${listPath}: not valid JSON (${(error as Error).message})`);
  }
  if (!Array.isArray(list)) {
    throw new CodedError('ERR_LIST_FORMAT', `${listPath}: expected an array of { "filename", "label" }`);
  }
  return list.map((item: { filename?: unknown; label?: unknown } | null, i) => ({
    name: item?.filename,
    label: item?.label,
    where: `${listPath}[${i}]`,
  }));
}

function toSample({ name, label, where }: Entry, { root, numClasses }: ListOptions): VideoSample {
  if (typeof name !== 'string' || name === '' || name.includes('\0')) {
    throw new CodedError('ERR_LIST_FORMAT', `${where}: expected a file name, got ${JSON.stringify(name)}`);
  }
  if (typeof label !== 'number' || !Number.isSafeInteger(label) || label < 0) {
    throw new CodedError(
      'ERR_LIST_FORMAT',
      `${where}: expected a label (an integer from 0 on) after the name, got ${JSON.stringify(label)}`,
    );
  }
  if (numClasses !== undefined && label >= numClasses) {
    throw new CodedError(
      'ERR_LABEL_RANGE',
      `${where}: label ${label} is outside the ${numClasses} classes (0..${numClasses - 1}); ` +
        'correct the list, or set the number of classes to what the list uses',
    );
  }
  return { name, label, where, source: { path: resolve(root, name) } };
}

async function requireFolder(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new CodedError('ERR_FILE_NOT_FOUND', `${path}: the folder of the videos does not exist`);
  }
}

async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new CodedError('ERR_FILE_NOT_FOUND', `${path}: the list of videos does not exist`);
    }
    throw new CodedError('ERR_FILE_READ', `${path}: ${(error as Error).message}`, { cause: error });
  }
}
