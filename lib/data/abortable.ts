import { CodedError } from '../base/error';
import { type CancelToken, videoAddon } from '../native/video';

/** Runs a call of the decode addon with a token that `signal` cancels. Errors get the caller's stack. */
export async function abortable<T>(
  signal: AbortSignal | undefined,
  call: (cancel: CancelToken | undefined) => Promise<T>,
): Promise<T> {
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw new CodedError('ERR_ARGUMENT', 'signal must be an AbortSignal, as that of an AbortController');
  }
  const token = signal && videoAddon().createCancelToken();
  const cancel = () => videoAddon().cancel(token!);
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await call(token);
  } catch (error) {
    if (error instanceof Error) Error.captureStackTrace(error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
