import type { FileBytes } from '../../io/file_bytes';
import { ZipReader } from '../../io/zip_reader';
import type { Member } from './member';

/**
 * Lists the files of a zip archive whose entries are stored, zip64 included. Contents are never read.
 * @throws ERR_ARCHIVE_FORMAT: not a zip, truncated, entries that are compressed, encrypted, overlapping or beyond the end
 */
export async function indexZip(file: FileBytes): Promise<Member[]> {
  const zip = await ZipReader.open(file);
  const members: Member[] = [];
  for (const { name, byteLength } of zip.entries.values()) {
    if (!name.endsWith('/')) members.push({ name, offset: await zip.start(name), length: byteLength });
  }
  return members;
}
