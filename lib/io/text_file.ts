import { mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { CodedError } from '../base/error';
import { writeAtomically, writeError } from './atomic_file';

/** Writes a text file as UTF-8, whole or not at all. @throws ERR_FILE_WRITE */
export async function writeText(path: string, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  await writeAtomically(path, bytes.length, (file) => file.append(bytes));
}

/**
 * Makes a folder and those above it; one that is there stays.
 *
 * Not by Node's recursive `mkdir`: where the system makes no folders, as below /proc, that never returns, and of a read-only
 * file system it says that a folder is missing.
 *
 * @throws ERR_FILE_WRITE
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await makeWithParents(resolve(path));
  } catch (error) {
    throw writeError(path, error);
  }
}

async function makeWithParents(path: string): Promise<void> {
  if (await isFolder(path)) return;
  const parent = dirname(path);
  if (parent !== path) await makeWithParents(parent);
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await isFolder(path))) return; // another process made it meanwhile
    if (code === 'ENOENT' && (await isFolder(parent))) {
      throw new CodedError(
        'ERR_FILE_WRITE',
        `${path} cannot be made: there can be no new folder in ${parent}`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}
