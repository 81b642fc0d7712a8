import { type NativeTensor, native } from '../native/load';

/**
 * Runs a chain of native calls: what is passed through `temporary` is released afterwards, the result is not.
 *
 * @example
 * // dy * (x == y), without keeping the comparison
 * const dx = withTemporaries((temporary) => {
 *   const equal = temporary(native().binary('equal', x.handle, y.handle));
 *   return native().binary('mul', dy.handle, equal);
 * });
 */
export function withTemporaries<T>(body: (temporary: (handle: NativeTensor) => NativeTensor) => T): T {
  const handles: NativeTensor[] = [];
  try {
    return body((handle) => {
      handles.push(handle);
      return handle;
    });
  } finally {
    for (const handle of handles) native().release(handle);
  }
}
