import { readFile, stat } from 'node:fs/promises';
import { hasCode } from '../../base/error';
import { type DamageCodes, FileBytes } from '../../io/file_bytes';
import { writeText } from '../../io/text_file';
import type { ListingOptions } from './listing';
import type { Member } from './member';
import { indexTar } from './tar_index';
import { indexZip } from './zip_index';

const codes: DamageCodes = { format: 'ERR_ARCHIVE_FORMAT', unsafe: 'ERR_ARCHIVE_FORMAT' };
const version = 2;

/** The index file beside an archive. */
interface CachedIndex {
  version: number;
  /** Size and modification time of the archive it was made from. */
  size: number;
  mtimeMs: number;
  members: [name: string, offset: number, length: number][];
}

/** Where the index of an archive is kept. */
export function indexPath(archive: string): string {
  return `${archive}.index.json`;
}

/** True for names of archives that {@link readArchiveIndex} reads. */
export function isArchiveName(path: string): boolean {
  return /\.(tar|zip)$/i.test(path);
}

/**
 * The members of a tar or zip archive. They are listed once and kept in a JSON file beside the archive, which counts as
 * long as the archive's size and modification time are those it was made from. Where that file cannot be written, as on a
 * read-only disk, the list is made again each time.
 *
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_ARCHIVE_FORMAT, ERR_ABORTED
 */
export async function readArchiveIndex(path: string, options: ListingOptions = {}): Promise<Member[]> {
  const file = await FileBytes.open(path, codes);
  try {
    const { size, mtimeMs } = await stat(path);
    const known = await readCache(path, size, mtimeMs);
    if (known) return known;
    const members = /\.zip$/i.test(path) ? await indexZip(file, options) : await indexTar(file, options);
    await writeCache(path, {
      version,
      size,
      mtimeMs,
      members: members.map((m) => [m.name, m.offset, m.length]),
    });
    return members;
  } finally {
    await file.close();
  }
}

/** The kept list, if it is sound and belongs to the archive as it is now. */
async function readCache(path: string, size: number, mtimeMs: number): Promise<Member[] | undefined> {
  const text = await readFile(indexPath(path), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  let cached: Partial<CachedIndex> | null;
  try {
    cached = JSON.parse(text) as Partial<CachedIndex> | null;
  } catch {
    return undefined; // not ours, or damaged: it is made anew
  }
  if (cached?.version !== version || cached.size !== size || cached.mtimeMs !== mtimeMs) return undefined;
  if (!Array.isArray(cached.members)) return undefined;
  const members: Member[] = [];
  for (const entry of cached.members as unknown[]) {
    const member = toMember(entry, size);
    if (!member) return undefined;
    members.push(member);
  }
  return members;
}

function toMember(entry: unknown, size: number): Member | undefined {
  if (!Array.isArray(entry)) return undefined;
  const [name, offset, length] = entry as unknown[];
  const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (typeof name !== 'string' || !isRange) return undefined;
  const member = { name, offset: offset as number, length: length as number };
  return member.offset >= 0 && member.length >= 0 && member.offset + member.length <= size
    ? member
    : undefined;
}

async function writeCache(path: string, index: CachedIndex): Promise<void> {
  try {
    await writeText(indexPath(path), JSON.stringify(index));
  } catch (error) {
    // The index is in memory; only the next start has to make it again.
    if (!hasCode(error, 'ERR_FILE_WRITE')) throw error;
  }
}
