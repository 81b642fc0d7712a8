import { getSystemErrorMap } from 'node:util';

/**
 * Why the system refused a call, in its words but without what Node adds for programmers, the call and the path: users did
 * not choose the name of a temporary file. The error's own message where it is not the system's.
 *
 * @example
 * systemReason(Object.assign(new Error('of Node'), { errno: -28 })); // 'no space left on device (ENOSPC)'
 */
export function systemReason(error: unknown): string {
  const { errno, message } = error as NodeJS.ErrnoException;
  const [code, words] = getSystemErrorMap().get(errno as number) ?? [];
  if (code === undefined) return message;
  return `${code === 'EISDIR' ? 'it is a folder' : words} (${code})`;
}
