import { type NativeTensor, native } from '../native/load';

/**
 * Runs a chain of native calls: what is passed through `temporary` is released afterwards, the result is not.
 *
 * @example
 * const dx = withTemporaries((temporary) => native().binary('mul', dy, temporary(native().binary('equal', x, y))));
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
