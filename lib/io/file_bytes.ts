import { type FileHandle, open, stat } from 'node:fs/promises';
import { CodedError, type ErrorCode } from '../base/error';
import { systemReason } from '../base/system_reason';

/** Bytes that can be read in parts. */
export interface ByteRange {
  readonly byteLength: number;
  /** `length` bytes from `offset`, in a buffer of their own. */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** The codes that damaged contents and absurd sizes get: they depend on what kind of file it is. */
export interface DamageCodes {
  format: ErrorCode;
  unsafe: ErrorCode;
}

const checkpointCodes: DamageCodes = { format: 'ERR_CHECKPOINT_FORMAT', unsafe: 'ERR_CHECKPOINT_UNSAFE' };

/** Most bytes asked of the system in one call. */
const CHUNK = 64 << 20;

/** An open file read by position: nothing but the ranges asked for is ever in memory. */
export class FileBytes implements ByteRange {
  readonly path: string;
  readonly byteLength: number;
  private handle: FileHandle | undefined;

  private constructor(
    path: string,
    byteLength: number,
    handle: FileHandle,
    readonly codes: DamageCodes,
  ) {
    this.path = path;
    this.byteLength = byteLength;
    this.handle = handle;
  }

  /** @throws ERR_FILE_NOT_FOUND, or ERR_FILE_READ when it is no regular file or not readable */
  static async open(path: string, codes: DamageCodes = checkpointCodes): Promise<FileBytes> {
    try {
      // Looked at before opening: opening a named pipe would wait for ever.
      const info = await stat(path);
      if (!info.isFile()) throw new CodedError('ERR_FILE_READ', `${path} is not a regular file`);
      return new FileBytes(path, info.size, await open(path, 'r'), codes);
    } catch (error) {
      throw readError(path, error);
    }
  }

  /** @throws the format code when the range is not inside the file, ERR_DISPOSED after {@link close} */
  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.handle) {
      throw new CodedError(
        'ERR_DISPOSED',
        `${this.path} was closed; read its tensors before closing the checkpoint`,
      );
    }
    if (!(offset >= 0 && length >= 0 && offset + length <= this.byteLength))
      this.failTruncated(offset, length);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const chunk = Math.min(CHUNK, length - done);
      const { bytesRead } = await this.handle.read(bytes, done, chunk, offset + done).catch((error) => {
        throw readError(this.path, error);
      });
      if (bytesRead === 0) this.failTruncated(offset, length);
      done += bytesRead;
    }
    return bytes;
  }

  /** The bytes from `start` on as a range of its own; it must lie inside the file. */
  range(start: number, byteLength: number): ByteRange {
    if (!(start >= 0 && byteLength >= 0 && start + byteLength <= this.byteLength))
      this.failTruncated(start, byteLength);
    return {
      byteLength,
      read: (offset, length) => {
        if (!(offset >= 0 && length >= 0 && offset + length <= byteLength))
          this.failTruncated(start + offset, length);
        return this.read(start + offset, length);
      },
    };
  }

  async close(): Promise<void> {
    const handle = this.handle;
    this.handle = undefined;
    await handle?.close();
  }

  private failTruncated(offset: number, length: number): never {
    const what = `${length} bytes from offset ${offset} lie outside the file of ${this.byteLength} bytes`;
    throw new CodedError(this.codes.format, `${this.path}: ${what}; it is damaged or truncated`);
  }
}

/** The {@link CodedError} for a failed file system call on `path`. */
export function readError(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code?.startsWith('ERR_')) return error;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const why = code === 'ENOTDIR' ? ': what it names as a folder is a file' : '';
    return new CodedError('ERR_FILE_NOT_FOUND', `${path} does not exist${why}`, { cause: error });
  }
  return new CodedError('ERR_FILE_READ', `${path} cannot be read: ${systemReason(error)}`, { cause: error });
}
