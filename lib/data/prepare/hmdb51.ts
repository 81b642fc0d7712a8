import { posix } from 'node:path';
import { CodedError } from '../../base/error';
import { type Catalogue, stemOf } from './catalogue';
import type { ClassTable } from './classes';
import type { Annotation, AnnotationFile, PreparedLists } from './prepared';

/**
 * `train_split<n>.txt` and `val_split<n>.txt` from the official split files of HMDB51, `<class>_test_split<n>.txt` with
 * lines "video.avi 0|1|2": 1 is training, 2 is test, 0 is not used in this split.
 *
 * @throws ERR_LIST_FORMAT, ERR_LABELS (unknown class, or classes without a file or a video in a split)
 */
export function prepareHmdb51(
  files: readonly AnnotationFile[],
  classes: ClassTable,
  videos: Catalogue,
): PreparedLists {
  const lists = new Map<string, Annotation[]>();
  for (const split of [1, 2, 3]) {
    const train: Annotation[] = [];
    const val: Annotation[] = [];
    for (const file of files) {
      const [, className, number] = /^(.+)_test_split(\d)\.txt$/.exec(posix.basename(file.path)) ?? [];
      if (className === undefined || Number(number) !== split) continue;
      readClass(file, className, classes, videos, { train, val });
    }
    for (const [name, list] of Object.entries({ train, val })) {
      const ids = new Set(list.map(({ label }) => label));
      classes.requireAll(ids, `${name} videos of the files *_test_split${split}.txt`);
      lists.set(`${name}_split${split}.txt`, list);
    }
  }
  return { lists, tables: new Map() };
}

function readClass(
  { path, text }: AnnotationFile,
  className: string,
  classes: ClassTable,
  videos: Catalogue,
  lists: { train: Annotation[]; val: Annotation[] },
): void {
  const label = classes.idOf(className, path);
  text.split(/\r?\n/).forEach((raw, i) => {
    const line = raw.trim();
    if (line === '') return;
    const [, file, use] = /^(.+\S)\s+([012])$/.exec(line) ?? [];
    if (!file) {
      throw new CodedError('ERR_LIST_FORMAT', `${path}:${i + 1}: expected "video.avi 0|1|2", got "${line}"`);
    }
    if (use === '0') return;
    const list = use === '1' ? lists.train : lists.val;
    list.push({ name: videos.find(stemOf(file), className), expected: `${className}/${file}`, label });
  });
}
