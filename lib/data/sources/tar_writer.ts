import { CodedError } from '../../base/error';
import type { FileWriter } from '../../io/atomic_file';
import { blockSize } from './tar_header';

/** Largest size that eleven octal digits hold. */
const maxOctal = 8 ** 11 - 1;

/**
 * Writes a tar archive, ustar with pax records where a name or size does not fit. The same members give the same
 * bytes: times and owners are zero.
 */
export class TarWriter {
  constructor(private readonly file: FileWriter) {}

  /**
   * Appends a member.
   * @param size bytes that `contents` gives @throws ERR_FILE_READ when it gives another number
   */
  async add(name: string, size: number, contents: AsyncIterable<Uint8Array>): Promise<void> {
    const records = [
      ...(Buffer.byteLength(name) > 100 || /[^\x20-\x7e]/.test(name) ? [paxRecord('path', name)] : []),
      ...(size > maxOctal ? [paxRecord('size', String(size))] : []),
    ];
    if (records.length > 0) {
      const text = Buffer.concat(records);
      await this.file.append(header('pax', text.length, 'x'));
      await this.file.append(text);
      await this.pad(text.length);
    }
    await this.file.append(header(name, size, '0'));
    const start = this.file.position;
    for await (const bytes of contents) await this.file.append(bytes);
    if (this.file.position - start !== size) {
      const came = this.file.position - start;
      throw new CodedError(
        'ERR_FILE_READ',
        `${name}: ${came} of ${size} bytes; the file changed while it was packed`,
      );
    }
    await this.pad(size);
  }

  /** Bytes written so far. */
  get position(): number {
    return this.file.position;
  }

  /** Ends the archive. */
  async end(): Promise<void> {
    await this.file.append(new Uint8Array(2 * blockSize));
  }

  private async pad(size: number): Promise<void> {
    const rest = size % blockSize;
    if (rest > 0) await this.file.append(new Uint8Array(blockSize - rest));
  }
}

function header(name: string, size: number, type: string): Buffer {
  const block = Buffer.alloc(blockSize);
  // Of a name that does not fit, the end is shown to programs that ignore pax.
  block.set(Buffer.from(name).subarray(-100), 0);
  const octal = (value: number, at: number, digits: number) =>
    block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  octal(0o644, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size > maxOctal ? 0 : size, 124, 11);
  octal(0, 136, 11);
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  return block;
}

/** `length key=value\n`, where the length counts its own digits. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length++;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}
