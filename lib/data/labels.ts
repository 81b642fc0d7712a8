import { readFileSync } from 'node:fs';
import { CodedError } from '../base/error';
import { refuseDevice } from '../base/refuse_device';
import { resolveShipped } from '../base/shipped_path';
import { systemReason } from '../base/system_reason';
import { splitRow } from './csv';
import { utf8Text } from './utf8_text';

/**
 * Class names in the order of their ids.
 *
 * @param source a CSV file with header `id,name` and ids 0..K-1 in any order (quoted names may hold commas; "None" and
 *   "NA" are names like any other), or the names themselves, separated by commas. A text without a comma is a file if
 *   one exists there, or if it looks like one (has a folder or the ending `.csv`, `.tsv`, `.txt` or `.json`). Shipped tables
 *   are found in any folder as `labels/kinetics_400_labels.csv`.
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_LABELS (not UTF-8, malformed row, duplicate or missing id, a name
 *   that two classes have, no class; with the line)
 *
 * @example
 * readLabels('labels/kinetics_400_labels.csv')[0]; // 'abseiling'
 * readLabels('arm wrestling, flipping pancake');   // ['arm wrestling', 'flipping pancake']
 */
export function readLabels(source: string): string[] {
  const path = resolveShipped(source);
  const content = source.includes(',') ? tryRead(path) : readTable(source, path);
  return content === undefined ? parseNames(source) : parseTable(content, source);
}

/** The file's text; undefined when there is none and `source` may be a single class name. */
function readTable(source: string, path: string): string | undefined {
  const content = tryRead(path);
  if (content === undefined && /[\\/]|\.(csv|tsv|txt|json)$/i.test(source)) {
    throw new CodedError(
      'ERR_FILE_NOT_FOUND',
      `class table ${source} does not exist; give a CSV file or names with commas`,
    );
  }
  return content;
}

function tryRead(path: string): string | undefined {
  let bytes: Buffer;
  try {
    refuseDevice(path);
    bytes = readFileSync(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (
      code === 'ENOENT' ||
      code === 'ENOTDIR' ||
      code === 'ENAMETOOLONG' ||
      code === 'ERR_INVALID_ARG_VALUE'
    )
      return undefined;
    throw new CodedError('ERR_FILE_READ', `class table ${path} cannot be read: ${systemReason(cause)}`, {
      cause,
    });
  }
  return utf8Text(bytes, path, 'ERR_LABELS');
}

function parseNames(source: string): string[] {
  const names = (splitRow(source) ?? refuse('labels', 'a quotation mark is not closed')).map((name) =>
    name.trim(),
  );
  const empty = names.indexOf('');
  if (names.length === 1 && empty === 0) refuse('labels', 'there is no class name');
  if (empty >= 0) refuse('labels', `class name ${empty} of ${names.length} is empty`);
  const again = names.findIndex((name, i) => names.indexOf(name) < i);
  if (again >= 0) {
    const name = names[again]!;
    refuse('labels', `class names ${names.indexOf(name)} and ${again} are both ${JSON.stringify(name)}`);
  }
  return names;
}

function parseTable(content: string, path: string): string[] {
  const names: string[] = [];
  const lineOf = new Map<number, number>();
  const lineOfName = new Map<string, number>();
  content.split(/\r?\n/).forEach((row, index) => {
    const where = `${path}:${index + 1}`;
    if (index === 0) {
      if (!/^\s*id\s*,\s*name\s*$/i.test(row))
        refuse(where, `expected the header "id,name", got ${JSON.stringify(row)}`);
      return;
    }
    if (row.trim() === '') return;
    const [idText = '', name = '', ...rest] = splitRow(row) ?? [];
    if (!/^\s*\d{1,9}\s*$/.test(idText) || name.trim() === '' || rest.length > 0) {
      refuse(where, `expected "id,name", got ${JSON.stringify(row)}; quote a name that holds a comma`);
    }
    const id = Number(idText);
    if (lineOf.has(id)) refuse(where, `id ${id} is also on line ${lineOf.get(id)}`);
    lineOf.set(id, index + 1);
    names[id] = name.trim();
    const before = lineOfName.get(names[id]);
    if (before) refuse(where, `the name ${JSON.stringify(names[id])} is also on line ${before}`);
    lineOfName.set(names[id], index + 1);
  });
  if (lineOf.size === 0) refuse(path, 'the class table has no rows');
  for (let id = 0; id < lineOf.size; id++) {
    if (!lineOf.has(id))
      refuse(path, `id ${id} is missing; ${lineOf.size} rows have ids 0..${lineOf.size - 1}`);
  }
  return names;
}

function refuse(where: string, problem: string): never {
  throw new CodedError('ERR_LABELS', `${where}: ${problem}`);
}
