import { join } from 'node:path';
import { CodedError } from '../../base/error';
import { makeFolder, writeText } from '../../io/text_file';
import { formatList } from '../list_file';
import { formatLabels } from './classes';

/** An annotated video. */
export interface Annotation {
  /** Its path under the root; undefined when it is not there. */
  name: string | undefined;
  /** What it should be called. */
  expected: string;
  label: number;
}

/** The lists made from the annotations of a data set, by file name. */
export interface PreparedLists {
  lists: Map<string, Annotation[]>;
  /** Class tables that go with some of the lists. */
  tables: Map<string, readonly string[]>;
}

/** What became of a list. */
export interface ListSummary {
  path: string;
  /** Videos in the list, classes they are of, annotated videos that are not there. */
  videos: number;
  classes: number;
  missing: number;
}

/** A text file of an annotation folder. */
export interface AnnotationFile {
  /** Path, for messages. */
  path: string;
  text: string;
}

/**
 * Writes lists, tables and `missing.txt`, which names the annotated videos that are not there (data sets made of web videos
 * are never whole).
 * @throws ERR_FILE_NOT_FOUND when a list has none of its videos, which means a wrong root; ERR_FILE_WRITE
 */
export async function writePrepared(
  folder: string,
  { lists, tables }: PreparedLists,
): Promise<ListSummary[]> {
  for (const [file, annotations] of lists) {
    if (annotations.some(({ name }) => name !== undefined)) continue;
    throw new CodedError(
      'ERR_FILE_NOT_FOUND',
      `${file}: none of the ${annotations.length} annotated videos is there; expected names such as ` +
        `"${annotations[0]?.expected}"`,
    );
  }
  await makeFolder(folder);
  const summaries: ListSummary[] = [];
  const missing = new Set<string>();
  for (const [file, annotations] of lists) {
    const path = join(folder, file);
    const found = annotations.filter(
      (item): item is Annotation & { name: string } => item.name !== undefined,
    );
    for (const { name, expected } of annotations) if (name === undefined) missing.add(expected);
    const entries = found.map(({ name, label }) => ({ name, labels: [label] }));
    await writeText(path, formatList(entries, path));
    const classes = new Set(found.map(({ label }) => label)).size;
    summaries.push({ path, videos: found.length, classes, missing: annotations.length - found.length });
  }
  for (const [file, names] of tables) await writeText(join(folder, file), formatLabels(names));
  await writeText(join(folder, 'missing.txt'), [...missing].map((name) => `${name}\n`).join(''));
  return summaries;
}
