import { statSync } from 'node:fs';
import { CodedError } from './error';

/**
 * For files that are read whole: a device may have no end, and /dev/zero would take all memory.
 * @throws ERR_FILE_READ for a device; what `stat` throws, but for a file that is not there
 */
export function refuseDevice(path: string): void {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info?.isCharacterDevice() || info?.isBlockDevice())
    throw new CodedError('ERR_FILE_READ', 'it is a device, not a file');
}
