import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkKnownOptions, checkSize, checkText, type KnownOptions, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { readError } from '../../io/file_bytes';
import { readLabels } from '../labels';
import { type ListingOptions, listingKeys } from '../sources/listing';
import { openStore } from '../sources/store';
import { Catalogue } from './catalogue';
import { ClassTable } from './classes';
import { prepareHmdb51 } from './hmdb51';
import { prepareKinetics } from './kinetics';
import { type AnnotationFile, type ListSummary, type PreparedLists, writePrepared } from './prepared';
import { prepareUcf101 } from './ucf101';
import { addZeroShot, drawSplits, newClasses, readSplits } from './zero_shot';

/** Data sets whose official annotations are understood. */
export type DatasetName = 'kinetics400' | 'kinetics600' | 'ucf101' | 'hmdb51';

/** The class table of a data set, the names of its annotation files, and how lists are made of them. */
interface DatasetFormat {
  labels: string;
  files: RegExp;
  lists: (files: readonly AnnotationFile[], classes: ClassTable, videos: Catalogue) => PreparedLists;
}

/** @internal */
export const datasets: Readonly<Record<DatasetName, DatasetFormat>> = {
  kinetics400: { labels: 'labels/kinetics_400_labels.csv', files: /\.csv$/, lists: prepareKinetics },
  kinetics600: { labels: 'labels/kinetics_600_labels.csv', files: /\.csv$/, lists: prepareKinetics },
  ucf101: { labels: 'labels/ucf_101_labels.csv', files: /^(train|test)list0\d\.txt$/, lists: prepareUcf101 },
  hmdb51: { labels: 'labels/hmdb_51_labels.csv', files: /_test_split\d\.txt$/, lists: prepareHmdb51 },
};

export interface PrepareOptions extends ListingOptions {
  dataset: DatasetName;
  /** Where the videos are: a folder, searched through, or archives. */
  root: string;
  /** Folder of the official annotation files, or one of them. */
  annotations: string;
  /** Folder that the lists are written to. */
  output: string;
  /** Class table in place of the shipped one. */
  labels?: string;
  /** Kinetics-600: classes per zero-shot split (default 160), and the seed they are drawn with (default 0). */
  zeroShotClasses?: number;
  seed?: number;
  /** Kinetics-600: class tables of given zero-shot splits, one each, in place of drawn ones. */
  splitFiles?: readonly string[];
  /** Kinetics-600: the official split that the zero-shot videos are of (default `val`). */
  zeroShotVideos?: 'val' | 'test';
}

const keys: KnownOptions<PrepareOptions> = {
  ...listingKeys,
  dataset: true,
  root: true,
  annotations: true,
  output: true,
  labels: true,
  zeroShotClasses: true,
  seed: true,
  splitFiles: true,
  zeroShotVideos: true,
};

/**
 * Writes the lists of a data set from its official annotations, for the videos that are there. Three splits each of UCF101 and
 * HMDB51; of Kinetics-600 also zero-shot splits: those of `splitFiles`, or three drawn ones, each 160 of the 220 classes that
 * Kinetics-400 has not.
 *
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_FILE_WRITE, ERR_LIST_FORMAT; ERR_LABELS when the annotations' classes
 *   are not those of the class table; ERR_ARGUMENT for options that do not go together; ERR_ABORTED
 */
export async function prepareDataset(options: PrepareOptions): Promise<ListSummary[]> {
  checkKnownOptions('prepareDataset', options, keys);
  checkDataset(options);
  checkZeroShot(options);
  const { labels, files, lists } = datasets[options.dataset];
  const table = options.labels ?? labels;
  const classes = new ClassTable(readLabels(table), table);
  const annotations = await readAnnotations(options.annotations, files);
  if (annotations.length === 0) {
    const { annotations: folder, dataset } = options;
    throw new CodedError('ERR_FILE_NOT_FOUND', `${folder} has none of the annotation files of ${dataset}`);
  }
  const { signal, onListing } = options;
  const store = await openStore(options.root, { signal, onListing });
  const prepared = lists(annotations, classes, new Catalogue(await store.names()));
  if (options.dataset === 'kinetics600') {
    const splits = options.splitFiles
      ? readSplits(options.splitFiles, classes)
      : drawnSplits(classes, options);
    addZeroShot(prepared, classes, splits, options.zeroShotVideos ?? 'val');
  }
  return writePrepared(options.output, prepared);
}

function drawnSplits(classes: ClassTable, { zeroShotClasses = 160, seed = 0 }: PrepareOptions): number[][] {
  const known = datasets.kinetics400.labels;
  const candidates = newClasses(classes, new ClassTable(readLabels(known), known));
  return drawSplits({ candidates, classesPerSplit: zeroShotClasses, splits: 3, seed });
}

function checkDataset({ dataset, root, annotations, output }: PrepareOptions): void {
  const what = 'prepareDataset';
  const known = Object.keys(datasets);
  if (!known.includes(dataset)) throw wrongKind(what, 'dataset', `one of ${known.join(', ')}`, dataset);
  for (const [name, path] of Object.entries({ root, annotations, output })) checkText(what, name, path);
}

function checkZeroShot({ dataset, splitFiles, zeroShotClasses, seed, zeroShotVideos }: PrepareOptions): void {
  const given = [splitFiles, zeroShotClasses, seed, zeroShotVideos].some((value) => value !== undefined);
  if (zeroShotClasses !== undefined) checkSize('prepareDataset', 'zeroShotClasses', zeroShotClasses);
  if (seed !== undefined) checkSize('prepareDataset', 'seed', seed, 0);
  if (![undefined, 'val', 'test'].includes(zeroShotVideos))
    throw wrongKind('prepareDataset', 'zeroShotVideos', 'val or test', zeroShotVideos);
  if (dataset !== 'kinetics600' && given) {
    throw new CodedError('ERR_ARGUMENT', `zero-shot splits are made of kinetics600, not of ${dataset}`);
  }
  if (splitFiles && (zeroShotClasses ?? seed) !== undefined) {
    throw new CodedError(
      'ERR_ARGUMENT',
      'splits are drawn (zeroShotClasses, seed) or read (splitFiles), not both',
    );
  }
}

/** The files of a folder whose names fit, in order; or, of a path to a file, this file. */
async function readAnnotations(path: string, names: RegExp): Promise<AnnotationFile[]> {
  try {
    const isFile = (await stat(path)).isFile();
    const folder = isFile ? dirname(path) : path;
    const found = isFile
      ? [path]
      : (await readdir(path)).filter((name) => names.test(name)).map((name) => join(folder, name));
    return await Promise.all(
      found.sort().map(async (file) => ({ path: file, text: await readFile(file, 'utf8') })),
    );
  } catch (error) {
    throw readError(path, error);
  }
}
