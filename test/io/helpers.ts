import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ErrorCode } from '../../lib/base/error';
import { FileBytes } from '../../lib/io/file_bytes';

const FIXTURES = join(__dirname, '../fixtures');

/** Path of a committed fixture. */
export function fixture(...names: string[]): string {
  return join(FIXTURES, ...names);
}

/** A folder that is there for the tests of one file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'xclip-io-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Expects a rejection with a code and a message. */
export async function expectCode(action: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  const error = await action.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toMatchObject({ name: 'CodedError', code });
  expect(error.message).toMatch(message);
}

/** Writes bytes to a file, gives it to `use` opened, and closes it. */
export async function withFile<T>(
  path: string,
  bytes: Uint8Array,
  use: (file: FileBytes) => Promise<T>,
): Promise<T> {
  writeFileSync(path, bytes);
  const file = await FileBytes.open(path);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** A pickle from readable pieces: strings are latin1 text, numbers are bytes. */
export function pickle(...pieces: (string | number)[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from([piece]))),
  );
}
