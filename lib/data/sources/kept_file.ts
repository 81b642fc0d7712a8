import { readFile, stat } from 'node:fs/promises';
import { hasCode } from '../../base/error';
import { readError } from '../../io/file_bytes';
import { writeText } from '../../io/text_file';

/** What a file kept beside an archive begins with: it counts as long as all of this is as it was. */
export interface Stamp {
  /** Of what is kept, raised when its form changes. */
  version: number;
  /** Size and modification time of the archive it was made from. */
  size: number;
  mtimeMs: number;
}

/**
 * The stamp of an archive as it is now. To be taken before the archive is opened: what is read from one that is replaced
 * meanwhile then does not count at the next start.
 *
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ
 */
export async function stampOf(archive: string, version: number): Promise<Stamp> {
  try {
    const { size, mtimeMs } = await stat(archive);
    return { version, size, mtimeMs };
  } catch (error) {
    throw readError(archive, error);
  }
}

/** What is kept in the JSON file at `path`, unless it is missing, no JSON, or of another stamp. */
export async function readKept(path: string, stamp: Stamp): Promise<Record<string, unknown> | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  let kept: (Record<string, unknown> & Partial<Stamp>) | null;
  try {
    kept = JSON.parse(text);
  } catch {
    return undefined; // not ours, or damaged: it is made anew
  }
  const { version, size, mtimeMs } = stamp;
  if (kept?.version !== version || kept.size !== size || kept.mtimeMs !== mtimeMs) return undefined;
  return kept;
}

/** Keeps `contents` under a stamp, whole or not at all. Where nothing can be written, the next start makes it again. */
export async function writeKept(path: string, stamp: Stamp, contents: object): Promise<void> {
  try {
    await writeText(path, JSON.stringify({ ...stamp, ...contents }));
  } catch (error) {
    if (!hasCode(error, 'ERR_FILE_WRITE')) throw error;
  }
}
