import type { FileBytes } from '../../io/file_bytes';
import { ZipReader } from '../../io/zip_reader';
import { Listing, type ListingOptions } from './listing';
import type { Member } from './member';

/**
 * Lists the files of a zip archive whose entries are stored, zip64 included. Contents are never read.
 * @throws ERR_ARCHIVE_FORMAT: not a zip, truncated, entries that are compressed, encrypted, overlapping or beyond the end;
 *   ERR_ABORTED
 */
export async function indexZip(file: FileBytes, options: ListingOptions = {}): Promise<Member[]> {
  const listing = new Listing(file.path, file.byteLength, options);
  listing.at(0);
  const zip = await ZipReader.open(file);
  const members: Member[] = [];
  for (const { name, byteLength } of zip.entries.values()) {
    listing.at((file.byteLength * members.length) / zip.entries.size); // as if all were of one size
    if (!name.endsWith('/')) members.push({ name, offset: await zip.start(name), length: byteLength });
  }
  listing.end();
  return members;
}
