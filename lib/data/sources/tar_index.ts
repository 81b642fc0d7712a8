import { CodedError } from '../../base/error';
import type { FileBytes } from '../../io/file_bytes';
import { Listing, type ListingOptions } from './listing';
import type { Member } from './member';
import {
  blockSize,
  isEndBlock,
  parseHeader,
  parsePax,
  paxSize,
  type TarHeader,
  TarHeaderError,
  textAt,
} from './tar_header';

/** Most bytes of a pax header or long name; real ones have a few hundred. */
const maxExtension = 1 << 20;

/** What extension headers say about the member after them. */
interface Extension {
  path?: string;
  linkPath?: string;
  size?: number;
  isSparse?: boolean;
}

/** Type flags whose members have no contents, whatever their size says: links, devices, folders, pipes. */
const withoutContents = /^[1-6]$/;

/**
 * Lists the files of a tar archive, going from header to header: contents are never read, so the work depends on the
 * number of members, not on their size. Knows ustar, pax (path, linkpath, size; global too), the long names of GNU, binary
 * sizes, and hard links to earlier members. Folders, symbolic links and devices are left out; of members of one name the last
 * counts, as in unpacking (`tar --append` replaces so).
 *
 * @throws ERR_ARCHIVE_FORMAT with the archive, the member and the offset: not a tar, truncated, contents beyond the
 *   end, sparse members, sizes that are negative or absurd; ERR_ABORTED
 */
export async function indexTar(file: FileBytes, options: ListingOptions = {}): Promise<Member[]> {
  if (file.byteLength === 0) refuse(file, 'the file is empty');
  const listing = new Listing(file.path, file.byteLength, options);
  const byName = new Map<string, Member>();
  const global: Extension = {};
  let extension: Extension = {};
  for (let at = 0; at < file.byteLength; ) {
    listing.at(at);
    const header = await readHeader(file, at);
    if (header === undefined) break;
    const size = extension.size ?? global.size ?? header.size;
    const contents = at + blockSize;
    if (/^[xgLK]$/.test(header.type)) {
      const bytes = await readExtension(file, at, header);
      extend(file, at, header.type === 'g' ? global : extension, header.type, bytes);
      at = nextHeader(contents, header.size);
      continue;
    }
    const path = extension.path ?? global.path ?? header.path;
    const length = withoutContents.test(header.type) ? 0 : size;
    if (contents + length > file.byteLength) {
      const have = file.byteLength - contents;
      refuse(
        file,
        `member "${path}" has ${length} bytes, but only ${have} follow its header; the archive is truncated`,
      );
    }
    if (extension.isSparse || header.type === 'S') {
      refuse(file, `member "${path}" is sparse, which byte ranges cannot read; pack it without --sparse`);
    }
    const member = memberOf(header, normalize(path), contents, length, byName, extension);
    if (member) {
      byName.delete(member.name); // it comes where the later one stands
      byName.set(member.name, member);
    }
    extension = {};
    at = nextHeader(contents, length);
  }
  listing.end();
  return [...byName.values()];
}

/** The header at `at`; undefined for the block that ends the archive. */
async function readHeader(file: FileBytes, at: number): Promise<TarHeader | undefined> {
  if (at + blockSize > file.byteLength)
    refuse(file, `the last header, at ${at}, is incomplete; the archive is truncated`);
  const block = Buffer.from((await file.read(at, blockSize)).buffer);
  if (at === 0) refuseCompressed(file, block);
  if (isEndBlock(block)) return undefined;
  return parsed(file, at, () => parseHeader(block));
}

async function readExtension(file: FileBytes, at: number, header: TarHeader): Promise<Buffer> {
  if (header.size > maxExtension)
    refuse(file, `the extension header at ${at} has ${header.size} bytes, which is absurd`);
  if (at + blockSize + header.size > file.byteLength) {
    refuse(file, `the extension header at ${at} is incomplete; the archive is truncated`);
  }
  return Buffer.from((await file.read(at + blockSize, header.size)).buffer);
}

function extend(file: FileBytes, at: number, extension: Extension, type: string, bytes: Buffer): void {
  if (type === 'L') extension.path = textAt(bytes, 0, bytes.length);
  else if (type === 'K') extension.linkPath = textAt(bytes, 0, bytes.length);
  else
    parsed(file, at, () => {
      for (const [key, value] of parsePax(bytes)) {
        if (key === 'path') extension.path = value;
        else if (key === 'linkpath') extension.linkPath = value;
        else if (key === 'size') extension.size = paxSize(value);
        else if (key.startsWith('GNU.sparse.')) extension.isSparse = true;
      }
    });
}

/** A hard link is its target, which precedes it, under another name: so links cannot form a circle. */
function memberOf(
  header: TarHeader,
  name: string,
  offset: number,
  length: number,
  byName: ReadonlyMap<string, Member>,
  extension: Extension,
): Member | undefined {
  if (header.type === '1') {
    const target = byName.get(normalize(extension.linkPath ?? header.linkPath));
    return target && { ...target, name };
  }
  // Before POSIX, folders were files whose names end in a slash.
  return header.type === '0' && name !== '' && !name.endsWith('/') ? { name, offset, length } : undefined;
}

/** Members of `tar -cf x.tar .` begin with "./". */
function normalize(path: string): string {
  return path.replace(/^(\.?\/+)+/, '');
}

function nextHeader(contents: number, length: number): number {
  return contents + Math.ceil(length / blockSize) * blockSize;
}

function parsed<T>(file: FileBytes, at: number, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof TarHeaderError)
      refuse(file, `${error.message}, at ${at}; the file is damaged or no tar`);
    throw error;
  }
}

function refuseCompressed(file: FileBytes, block: Buffer): void {
  const magic = block.toString('latin1', 0, 6);
  const kind = [
    ['\x1f\x8b', 'gzip'],
    ['BZh', 'bzip2'],
    ['\xfd7zXZ', 'xz'],
    ['\x28\xb5\x2f\xfd', 'zstd'],
  ].find(([start]) => magic.startsWith(start!));
  if (kind)
    refuse(
      file,
      `the archive is compressed with ${kind[1]}; unpack it to a plain tar (videos hardly shrink anyway)`,
    );
}

function refuse(file: FileBytes, problem: string): never {
  throw new CodedError('ERR_ARCHIVE_FORMAT', `${file.path}: ${problem}`);
}
