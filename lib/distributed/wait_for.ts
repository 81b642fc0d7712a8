import { abortError } from '../base/abort';
import { CodedError } from '../base/error';

export interface Patience {
  /** How long to wait for the other processes at the start (default 300,000 ms). */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** What `begin` resolves to, unless time or patience run out first. */
export async function waitFor<T = void>(
  begin: (resolve: (value: T) => void) => void,
  { timeoutMs = 300_000, signal }: Patience,
  doing: () => string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let abort = () => {};
  try {
    return await new Promise<T>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(new CodedError('ERR_DISTRIBUTED', `${doing()}, in vain for ${timeoutMs / 1000} s`));
      }, timeoutMs);
      abort = () => reject(abortError(signal, `${doing()} until it was told to stop`));
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort);
      begin(resolve);
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}
