import { isUtf8 } from 'node:buffer';
import { CodedError, type ErrorCode } from '../base/error';

/**
 * The text of a UTF-8 file, without a byte order mark. Another encoding is refused, not guessed: a name with a wrong
 * letter would be another class, or a video that does not exist.
 * @throws `code`, naming file and line
 *
 * @example
 * utf8Text(Buffer.from('café 0\n'), 'train.txt', 'ERR_LIST_FORMAT'); // 'café 0\n'
 */
export function utf8Text(bytes: Buffer, path: string, code: ErrorCode): string {
  if (isUtf8(bytes)) return bytes.toString('utf8').replace(/^\uFEFF/, '');
  let line = 1;
  for (let start = 0; ; line++) {
    const end = bytes.indexOf(10, start);
    if (end < 0 || !isUtf8(bytes.subarray(start, end))) break;
    start = end + 1;
  }
  throw new CodedError(code, `${path}:${line}: not UTF-8 text; save the file as UTF-8`);
}
