import { readFile } from 'node:fs/promises';
import { CodedError } from '../base/error';
import { refuseDevice } from '../base/refuse_device';
import { systemReason } from '../base/system_reason';
import { utf8Text } from './utf8_text';

/** A line of a list of videos. */
export interface ListEntry {
  name: string;
  /** Class numbers, at least one, none twice. */
  labels: readonly number[];
  /** File and line, as `train.txt:17`. */
  where: string;
}

/** An entry before its parts are checked. */
interface RawEntry {
  name: unknown;
  label: unknown;
  where: string;
}

/**
 * Reads a list: lines `name label`, split at the last white space, or, in a file that ends in `.json`, an array of
 * `{ "filename": string, "label": number }`. A video of several classes has `3,17` or `[3, 17]`.
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_LIST_FORMAT, naming file and line
 */
export async function readList(path: string): Promise<ListEntry[]> {
  const text = await readText(path);
  const entries = isJson(path) ? parseJson(text, path) : parseLines(text, path);
  if (entries.length === 0) {
    throw new CodedError('ERR_LIST_FORMAT', `${path}: the list has no entries; expected lines "name label"`);
  }
  return entries.map(({ name, label, where }) => {
    if (typeof name !== 'string' || name === '' || name.includes('\0')) {
      throw new CodedError('ERR_LIST_FORMAT', `${where}: expected a file name, got ${JSON.stringify(name)}`);
    }
    return { name, labels: parseLabels(label, where), where };
  });
}

/**
 * The text of a list, as {@link readList} reads it from a file called `path`: a line `name label` for each entry, or JSON.
 * @throws ERR_LIST_FORMAT for a name that a line cannot hold
 */
export function formatList(
  entries: readonly Pick<ListEntry, 'name' | 'labels'>[],
  path = 'list.txt',
): string {
  if (isJson(path)) {
    const items = entries.map(({ name, labels }) =>
      JSON.stringify({ filename: name, label: labels.length === 1 ? labels[0] : labels }),
    );
    return `[\n${items.join(',\n')}\n]\n`;
  }
  for (const { name } of entries) {
    if (name === name.trim() && !/[\r\n]/.test(name)) continue;
    throw new CodedError(
      'ERR_LIST_FORMAT',
      `${path}: no line can hold the name ${JSON.stringify(name)}, which begins or ends with a blank or has a line break; ` +
        'rename the video, or write a list that ends in .json',
    );
  }
  return entries.map(({ name, labels }) => `${name} ${labels.join(',')}\n`).join('');
}

function isJson(path: string): boolean {
  return path.endsWith('.json');
}

/** Labels: a number, digits, digits with commas, or a list of these. @throws ERR_LIST_FORMAT */
export function parseLabels(written: unknown, where: string): number[] {
  const parts: unknown[] =
    typeof written === 'string' ? written.split(',') : Array.isArray(written) ? written : [written];
  const labels = parts.map((part) =>
    typeof part === 'string' && /^[0-9]+$/.test(part) ? Number(part) : part,
  );
  const isSound = labels.every((label) => Number.isSafeInteger(label) && (label as number) >= 0);
  if (!isSound || labels.length === 0 || new Set(labels).size < labels.length) {
    throw new CodedError(
      'ERR_LIST_FORMAT',
      `${where}: expected a label (an integer from 0 on, or several with commas) after the name, got ${JSON.stringify(written)}`,
    );
  }
  return labels as number[];
}

function parseLines(text: string, path: string): RawEntry[] {
  return text.split(/\r?\n/).flatMap((raw, i): RawEntry[] => {
    const line = raw.trim();
    if (line === '') return [];
    const where = `${path}:${i + 1}`;
    const fields = /^(.*\S)\s+(\S+)$/.exec(line);
    if (!fields) {
      throw new CodedError('ERR_LIST_FORMAT', `${where}: expected "name label", got "${line}"`);
    }
    return [{ name: fields[1], label: fields[2], where }];
  });
}

function parseJson(text: string, path: string): RawEntry[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    throw new CodedError('ERR_LIST_FORMAT', `${path}: not valid JSON (${(error as Error).message})`);
  }
  if (!Array.isArray(list)) {
    throw new CodedError('ERR_LIST_FORMAT', `${path}: expected an array of { "filename", "label" }`);
  }
  return list.map((item: { filename?: unknown; label?: unknown } | null, i) => ({
    name: item?.filename,
    label: item?.label,
    where: `${path}[${i}]`,
  }));
}

async function readText(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    refuseDevice(path);
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new CodedError('ERR_FILE_NOT_FOUND', `${path}: the list of videos does not exist`);
    }
    throw new CodedError(
      'ERR_FILE_READ',
      `${path}: the list of videos cannot be read: ${systemReason(error)}`,
      {
        cause: error,
      },
    );
  }
  return utf8Text(bytes, path, 'ERR_LIST_FORMAT');
}
