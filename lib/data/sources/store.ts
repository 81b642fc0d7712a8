import { stat } from 'node:fs/promises';
import { posix, resolve } from 'node:path';
import { checkKnownOptions, checkText } from '../../base/check';
import { CodedError } from '../../base/error';
import { readError } from '../../io/file_bytes';
import { isArchiveName, readArchiveIndex } from './archive_index';
import { expandBraces, isBracePattern } from './brace_pattern';
import { filesBelow } from './folder_files';
import { type ListingOptions, listingKeys } from './listing';
import type { Member } from './member';

/** Where the bytes of a video are: a whole file, or `length` bytes from `offset` of one (a member of an archive). */
export interface Source {
  path: string;
  offset?: number;
  length?: number;
}

/** Where the videos of a list are: what DATA.ROOT names. */
export interface VideoStore {
  /**
   * Where the bytes of `name` are. A folder is not looked into: a file that is not there fails when it is opened.
   * @throws ERR_FILE_NOT_FOUND when an archive has no such member, ERR_LIST_FORMAT when several could be meant
   */
  locate(name: string): Source;
  /** What messages call `name`: a path, or archive and member. */
  describe(name: string): string;
  /**
   * Names of all files, ascending, as `locate` takes them.
   * @throws ERR_ABORTED by the signal that the store was opened with; ERR_FILE_READ
   */
  names(): Promise<string[]>;
}

/**
 * Opens what a path names: a folder, a `.tar` or `.zip` archive, or a range of archives as `train-{000000..000146}.tar`,
 * whose members count as one. Of archives the index is read, and made first when there is none yet.
 *
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_ARCHIVE_FORMAT, ERR_ARGUMENT (a bad range), ERR_ABORTED
 */
export async function openStore(root: string, options: ListingOptions = {}): Promise<VideoStore> {
  checkText('openStore', 'root', root);
  checkKnownOptions('openStore', options, listingKeys);
  const found = await stat(root).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw readError(root, error);
  });
  if (found?.isDirectory()) return new FolderStore(resolve(root), options.signal);
  if (!isArchiveName(root)) {
    if (found)
      throw new CodedError('ERR_FILE_READ', `${root} is neither a folder nor a .tar or .zip archive`);
    throw new CodedError('ERR_FILE_NOT_FOUND', `${root}: the folder of the videos does not exist`);
  }
  const archives = isBracePattern(root) && !found ? expandBraces(root) : [root];
  const entries: ArchiveEntry[] = [];
  for (const archive of archives) {
    const path = resolve(archive);
    for (const member of await readArchiveIndex(path, options)) entries.push({ ...member, archive: path });
  }
  return new ArchiveStore(root, entries);
}

class FolderStore implements VideoStore {
  constructor(
    private readonly root: string,
    private readonly signal: AbortSignal | undefined,
  ) {}

  locate(name: string): Source {
    return { path: resolve(this.root, name) };
  }

  describe(name: string): string {
    return resolve(this.root, name);
  }

  async names(): Promise<string[]> {
    return (await filesBelow(this.root, this.signal)).sort();
  }
}

interface ArchiveEntry extends Member {
  /** Path of the archive. */
  archive: string;
}

/** Members by their path and, where that is unique, by the last part of it. */
class ArchiveStore implements VideoStore {
  private readonly byPath = new Map<string, ArchiveEntry[]>();
  private readonly byBasename = new Map<string, ArchiveEntry[]>();

  constructor(
    private readonly root: string,
    entries: readonly ArchiveEntry[],
  ) {
    for (const entry of entries) {
      push(this.byPath, entry.name, entry);
      push(this.byBasename, posix.basename(entry.name), entry);
    }
  }

  locate(name: string): Source {
    const { archive, offset, length } = this.find(name);
    return { path: archive, offset, length };
  }

  describe(name: string): string {
    return `${this.root}: ${name}`;
  }

  async names(): Promise<string[]> {
    return [...this.byPath.keys()].sort();
  }

  private find(name: string): ArchiveEntry {
    const path = posix.normalize(name).replace(/^\/+/, '');
    const found = this.byPath.get(path) ?? this.byBasename.get(posix.basename(path));
    if (!found) throw new CodedError('ERR_FILE_NOT_FOUND', `${this.root}: there is no member "${name}"`);
    if (found.length > 1) {
      const places = found.slice(0, 3).map((entry) => `${posix.basename(entry.archive)}: ${entry.name}`);
      throw new CodedError(
        'ERR_LIST_FORMAT',
        `${this.root}: "${name}" could be any of ${found.length} members (${places.join(', ')}, …); ` +
          'give each its own path',
      );
    }
    return found[0]!;
  }
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
