import { type DamageCodes, FileBytes } from '../../io/file_bytes';
import { readKept, stampOf, writeKept } from './kept_file';
import type { ListingOptions } from './listing';
import type { Member } from './member';
import { indexTar } from './tar_index';
import { indexZip } from './zip_index';

/** What damage in an archive is called. */
export const archiveCodes: DamageCodes = { format: 'ERR_ARCHIVE_FORMAT', unsafe: 'ERR_ARCHIVE_FORMAT' };
const version = 2;

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
  const stamp = await stampOf(path, version);
  const file = await FileBytes.open(path, archiveCodes);
  try {
    const known = toMembers(await readKept(indexPath(path), stamp), stamp.size);
    if (known) return known;
    const members = /\.zip$/i.test(path) ? await indexZip(file, options) : await indexTar(file, options);
    await writeKept(indexPath(path), stamp, { members: members.map((m) => [m.name, m.offset, m.length]) });
    return members;
  } finally {
    await file.close();
  }
}

/** The kept list, if it is sound. */
function toMembers(kept: Record<string, unknown> | undefined, size: number): Member[] | undefined {
  if (!Array.isArray(kept?.members)) return undefined;
  const members: Member[] = [];
  for (const entry of kept.members as unknown[]) {
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
