import { readFile } from 'node:fs/promises';
import { CodedError } from '../base/error';

/** A line of a list of videos. */
export interface ListEntry {
  name: string;
  label: number;
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
 * `{ "filename": string, "label": number }`.
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_LIST_FORMAT, naming file and line
 */
export async function readList(path: string): Promise<ListEntry[]> {
  const text = await readText(path);
  const entries = path.endsWith('.json') ? parseJson(text, path) : parseLines(text, path);
  if (entries.length === 0) {
    throw new CodedError('ERR_LIST_FORMAT', `${path}: the list has no entries; expected lines "name label"`);
  }
  return entries.map(({ name, label, where }) => {
    if (typeof name !== 'string' || name === '' || name.includes('\0')) {
      throw new CodedError('ERR_LIST_FORMAT', `${where}: expected a file name, got ${JSON.stringify(name)}`);
    }
    return { name, label: parseLabel(label, where), where };
  });
}

/** The text of a list: a line `name label` for each entry. */
export function formatList(entries: readonly Pick<ListEntry, 'name' | 'label'>[]): string {
  return entries.map(({ name, label }) => `${name} ${label}\n`).join('');
}

/** A label, as a number or in digits. @throws ERR_LIST_FORMAT */
export function parseLabel(written: unknown, where: string): number {
  const label = typeof written === 'string' && /^[0-9]+$/.test(written) ? Number(written) : written;
  if (typeof label !== 'number' || !Number.isSafeInteger(label) || label < 0) {
    throw new CodedError(
      'ERR_LIST_FORMAT',
      `${where}: expected a label (an integer from 0 on) after the name, got ${JSON.stringify(label)}`,
    );
  }
  return label;
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
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new CodedError('ERR_FILE_NOT_FOUND', `${path}: the list of videos does not exist`);
    }
    throw new CodedError('ERR_FILE_READ', `${path}: ${(error as Error).message}`, { cause: error });
  }
}
