import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted } from '../../base/abort';
import { readError } from '../../io/file_bytes';

/**
 * Paths of all files below a folder, with "/", in no order. Links to folders are followed, as data sets are often put together
 * from several disks; links that lead back to a folder above, or nowhere, are left out.
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_ABORTED
 */
export async function filesBelow(root: string, signal?: AbortSignal): Promise<string[]> {
  const files: string[] = [];
  /** @param above true paths of the folder and those that led to it */
  const visit = async (folder: string, prefix: string, above: readonly string[]): Promise<void> => {
    throwIfAborted(signal, `listing the files of ${root} was aborted`);
    const entries = await readdir(folder, { withFileTypes: true });
    const kinds = await Promise.all(entries.map((entry) => kindOf(folder, entry)));
    for (const [i, { name }] of entries.entries()) {
      const path = join(folder, name);
      if (kinds[i] === 'file') files.push(prefix + name);
      if (kinds[i] !== 'folder') continue;
      const real = await realpath(path);
      if (!above.includes(real)) await visit(path, `${prefix}${name}/`, [...above, real]);
    }
  };
  try {
    await visit(root, '', [await realpath(root)]);
  } catch (error) {
    throw readError((error as NodeJS.ErrnoException).path ?? root, error);
  }
  return files;
}

async function kindOf(folder: string, entry: Dirent): Promise<'file' | 'folder' | undefined> {
  if (!entry.isSymbolicLink()) return entry.isDirectory() ? 'folder' : 'file';
  try {
    return (await stat(join(folder, entry.name))).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    if (/^(ENOENT|ENOTDIR|ELOOP)$/.test((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
