import { CodedError, hasCode } from './error';

/** The error of work that `signal` has stopped; its cause is the reason that the caller gave. */
export function abortError(signal: AbortSignal | undefined, message: string): CodedError {
  return withReason(new CodedError('ERR_ABORTED', message), signal);
}

/** @throws ERR_ABORTED once `signal` has fired */
export function throwIfAborted(signal: AbortSignal | undefined, message = 'aborted by the caller'): void {
  if (signal?.aborted) throw abortError(signal, message);
}

/** The error itself. One of work that `signal` has stopped gets its reason as the cause, as {@link abortError} has it. */
export function withReason<T>(error: T, signal: AbortSignal | undefined): T {
  if (signal?.aborted && hasCode(error, 'ERR_ABORTED') && error.cause === undefined)
    Object.defineProperty(error, 'cause', { value: signal.reason, writable: true, configurable: true });
  return error;
}
