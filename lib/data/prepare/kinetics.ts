import { posix } from 'node:path';
import { CodedError } from '../../base/error';
import { splitRow } from '../csv';
import type { Catalogue } from './catalogue';
import type { ClassTable } from './classes';
import type { Annotation, AnnotationFile, PreparedLists } from './prepared';

const columns = ['label', 'youtube_id', 'time_start', 'time_end', 'split'] as const;
const splitNames: Record<string, 'train' | 'val' | 'test'> = {
  train: 'train',
  val: 'val',
  validate: 'val',
  validation: 'val',
  test: 'test',
};

/**
 * `train.txt`, `val.txt` and, where the annotations have one, `test.txt`, from the official CSV files of Kinetics: columns
 * label, youtube_id, time_start, time_end, split, in any order. A clip is the file `<id>_<start>_<end>`, seconds in six
 * digits, in any folder.
 *
 * @throws ERR_LIST_FORMAT (malformed row, no train or val), ERR_LABELS (unknown class, or classes without a clip)
 */
export function prepareKinetics(
  files: readonly AnnotationFile[],
  classes: ClassTable,
  videos: Catalogue,
): PreparedLists {
  const lists = new Map<string, Annotation[]>();
  for (const file of files) readRows(file, classes, videos, lists);
  for (const split of ['train', 'val']) {
    const list = lists.get(`${split}.txt`);
    const where = files.map(({ path }) => path).join(', ');
    if (!list) throw new CodedError('ERR_LIST_FORMAT', `${where}: no clip of the split "${split}"`);
    classes.requireAll(new Set(list.map(({ label }) => label)), `${where}: split "${split}"`);
  }
  return { lists, tables: new Map() };
}

function readRows(
  { path, text }: AnnotationFile,
  classes: ClassTable,
  videos: Catalogue,
  lists: Map<string, Annotation[]>,
): void {
  const rows = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const header = (splitRow(rows[0] ?? '') ?? []).map((cell) => cell.trim().toLowerCase());
  const places = columns.map((column) => header.indexOf(column));
  const absent = columns.find((_, i) => places[i] === -1);
  if (absent === 'label' && /test/i.test(posix.basename(path))) return; // the oldest test files keep the answers back
  if (absent)
    throw new CodedError('ERR_LIST_FORMAT', `${path}:1: there is no column "${absent}"; expected ${columns}`);
  rows.slice(1).forEach((row, i) => {
    if (row.trim() === '') return;
    const where = `${path}:${i + 2}`;
    const cells = splitRow(row) ?? [];
    const [label, id, start, end, splitName] = places.map((place) => cells[place]?.trim() ?? '');
    const split = splitNames[splitName!.toLowerCase()];
    const first = seconds(start!);
    const last = seconds(end!);
    if (!split || !/^[\w-]+$/.test(id!) || first === undefined || last === undefined) {
      throw new CodedError('ERR_LIST_FORMAT', `${where}: expected ${columns}, got ${JSON.stringify(row)}`);
    }
    const stem = `${id}_${first}_${last}`;
    const file = `${split}.txt`;
    if (!lists.has(file)) lists.set(file, []);
    lists.get(file)!.push({
      name: videos.find(stem, label!),
      expected: `${stem}.mp4`,
      label: classes.idOf(label!, where),
    });
  });
}

/** Whole seconds in six digits; undefined when the text is none. */
function seconds(text: string): string | undefined {
  return /^\d{1,6}(\.0*)?$/.test(text) ? String(Number.parseInt(text, 10)).padStart(6, '0') : undefined;
}
