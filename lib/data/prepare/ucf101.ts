import { posix } from 'node:path';
import { CodedError } from '../../base/error';
import { type Catalogue, stemOf } from './catalogue';
import type { ClassTable } from './classes';
import type { Annotation, AnnotationFile, PreparedLists } from './prepared';

/**
 * `train_split<n>.txt` and `val_split<n>.txt` from the official split files of UCF101: `trainlist01.txt` with lines
 * "Class/v_Class_g08_c01.avi 1", `testlist01.txt` without the number, and so on to 03. The class is the folder.
 *
 * @throws ERR_FILE_NOT_FOUND (a split file), ERR_LIST_FORMAT, ERR_LABELS (unknown class, or classes without a video)
 */
export function prepareUcf101(
  files: readonly AnnotationFile[],
  classes: ClassTable,
  videos: Catalogue,
): PreparedLists {
  const lists = new Map<string, Annotation[]>();
  for (const split of [1, 2, 3]) {
    for (const [official, own] of [
      ['trainlist', 'train'],
      ['testlist', 'val'],
    ]) {
      const name = `${official}0${split}.txt`;
      const file = files.find(({ path }) => posix.basename(path) === name);
      if (!file) throw new CodedError('ERR_FILE_NOT_FOUND', `${name} is not among the annotations`);
      lists.set(`${own}_split${split}.txt`, readSplit(file, classes, videos));
    }
  }
  return { lists, tables: new Map() };
}

function readSplit({ path, text }: AnnotationFile, classes: ClassTable, videos: Catalogue): Annotation[] {
  const annotations: Annotation[] = [];
  text.split(/\r?\n/).forEach((raw, i) => {
    const line = raw.trim();
    if (line === '') return;
    const where = `${path}:${i + 1}`;
    const [, className, file] = /^([^/]+)\/(\S+)(?:\s+\d+)?$/.exec(line) ?? [];
    if (!className || !file) {
      throw new CodedError('ERR_LIST_FORMAT', `${where}: expected "Class/file.avi", got "${line}"`);
    }
    const label = classes.idOf(className, where);
    annotations.push({ name: videos.find(stemOf(file), className), expected: `${className}/${file}`, label });
  });
  classes.requireAll(new Set(annotations.map(({ label }) => label)), path);
  return annotations;
}
