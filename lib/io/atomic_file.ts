import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { throwIfAborted } from '../base/abort';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { systemReason } from '../base/system_reason';

/** Options of everything that writes a file. */
export interface WriteOptions {
  /** Stops the writing with ERR_ABORTED; the old file, if any, stays. */
  signal?: AbortSignal;
  /** Told after each piece how many of how many bytes are written. */
  onProgress?: (written: number, total: number) => void;
}

export const writeKeys: KnownOptions<WriteOptions> = { signal: true, onProgress: true };

const CHUNK = 16 << 20;

// In a container every process may have the same number, so that alone would meet what a killed one has left.
const temporaryBeside = (path: string) =>
  resolve(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
const TEMPORARY = /^\..+\.(\d+)\.[0-9a-f]{8}\.tmp$/;

/** Temporary files being written; a process that exits meanwhile removes them. */
const underWay = new Set<string>();
let watching = false;

function watchExit(): void {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const path of underWay) rmSync(path, { force: true });
  });
}

/** A file being written from front to back. */
export class FileWriter {
  /** Bytes appended so far. */
  position = 0;
  private readonly handle: FileHandle;
  private readonly options: WriteOptions;
  private readonly total: number;

  constructor(handle: FileHandle, total: number, options: WriteOptions) {
    this.handle = handle;
    this.total = total;
    this.options = options;
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; done += CHUNK) {
      throwIfAborted(this.options.signal, 'writing was aborted');
      const piece = bytes.subarray(done, done + CHUNK);
      await this.overwrite(this.position, piece);
      this.position += piece.length;
      this.options.onProgress?.(this.position, Math.max(this.total, this.position));
    }
  }

  /** Replaces bytes that were appended before. */
  async overwrite(position: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  }
}

/**
 * Writes a file so that `path` always holds either what it held before or all of the new contents, also after a crash:
 * a temporary file beside it is written, flushed to disk, renamed over it, and the rename is flushed too. `process.exit`
 * in the middle removes the temporary file; only a kill that cannot be caught leaves it behind.
 *
 * @param total - expected size in bytes; only progress depends on it
 * @param write - appends the contents; when it fails the temporary file is removed and nothing has changed
 * @throws ERR_FILE_WRITE, ERR_ABORTED, or what `write` throws
 */
export async function writeAtomically(
  path: string,
  total: number,
  write: (file: FileWriter) => Promise<void>,
  options: WriteOptions = {},
): Promise<void> {
  checkKnownOptions('writeAtomically', options, writeKeys);
  const temporary = temporaryBeside(path);
  watchExit();
  underWay.add(temporary);
  try {
    const handle = await open(temporary, 'wx');
    try {
      const file = new FileWriter(handle, total, options);
      await write(file);
      await handle.sync();
      options.onProgress?.(file.position, file.position);
    } finally {
      await handle.close();
    }
    throwIfAborted(options.signal, 'writing was aborted');
    await rename(temporary, path);
    await flushDirectory(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw writeError(path, error);
  } finally {
    underWay.delete(temporary);
  }
}

/**
 * Removes from `folder` the temporary files of processes that were killed while they wrote. Those that a running process
 * writes stay, but processes of other machines are not known: the folder must be one that they do not write into.
 *
 * @throws ERR_FILE_WRITE
 */
export async function removeAbandoned(folder: string): Promise<void> {
  try {
    for (const name of await readdir(folder)) {
      const writer = TEMPORARY.exec(name)?.[1];
      const path = resolve(folder, name);
      if (writer === undefined || underWay.has(path) || isAnotherProcess(Number(writer))) continue;
      await unlink(path);
    }
  } catch (error) {
    throw writeError(folder, error);
  }
}

function isAnotherProcess(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // there, and of somebody else
  }
}

async function flushDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network file systems cannot flush directories; the rename itself has happened.
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EINVAL' && code !== 'ENOTSUP') throw error;
  } finally {
    await handle.close();
  }
}

/** The {@link CodedError} for a failed file system call that was to make or change `path`; other errors come back as they are. */
export function writeError(path: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined || code?.startsWith('ERR_')) return error;
  const reason = inTheWay(path, error as NodeJS.ErrnoException) ?? systemReason(error);
  return new CodedError('ERR_FILE_WRITE', `${path} cannot be written: ${reason}`, { cause: error });
}

/** What is wrong with the folders that lead to `path`, where that is the reason. */
function inTheWay(path: string, { code, syscall, path: place }: NodeJS.ErrnoException): string | undefined {
  if (syscall === 'open' && (code === 'ENOENT' || code === 'ENOTDIR'))
    return `there is no folder ${dirname(path)}`;
  if (syscall === 'mkdir' && (code === 'EEXIST' || code === 'ENOTDIR')) return `${place} is not a folder`;
  return undefined;
}
