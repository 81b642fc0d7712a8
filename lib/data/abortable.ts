import { withReason } from '../base/abort';
import { CodedError } from '../base/error';
import { type CancelToken, videoAddon } from '../native/video';

/**
 * What a signal stops. It has one listener of ours, however many calls it is given to at a time: Node warns of a leak from
 * the eleventh on.
 */
interface Watch {
  stops: Set<() => void>;
  listener: () => void;
}
const watches = new WeakMap<AbortSignal, Watch>();

/** Calls `stop` when `signal` fires, until the function that is returned is called. */
function whenAborted(signal: AbortSignal, stop: () => void): () => void {
  let watch = watches.get(signal);
  if (!watch) {
    const stops = new Set<() => void>();
    watch = {
      stops,
      listener: () => {
        for (const each of stops) each();
      },
    };
    watches.set(signal, watch);
  }
  const { stops, listener } = watch;
  if (stops.size === 0) signal.addEventListener('abort', listener);
  stops.add(stop);
  return () => {
    stops.delete(stop);
    if (stops.size === 0) signal.removeEventListener('abort', listener);
  };
}

/** A controller that `outer` aborts too. It is to be aborted in the end, which takes it off `outer`. */
export function controllerUnder(outer: AbortSignal | undefined): AbortController {
  const controller = new AbortController();
  const { signal } = controller;
  if (outer?.aborted) controller.abort(outer.reason);
  else if (outer)
    signal.addEventListener(
      'abort',
      whenAborted(outer, () => controller.abort(outer.reason)),
      { once: true },
    );
  return controller;
}

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
  const leave = signal && whenAborted(signal, cancel);
  try {
    return await call(token);
  } catch (error) {
    if (error instanceof Error) Error.captureStackTrace(error);
    throw withReason(error, signal);
  } finally {
    leave?.();
  }
}
