import { abortError, withReason } from '../base/abort';
import { usableCores } from '../base/cores';
import { type CancelToken, videoAddon } from '../native/video';
import { Limiter } from './limiter';
import { inStoredOrder, type VideoSample } from './video_dataset';

/**
 * Runs `work` for each video, as many at a time as there are cores, about in the order in which they are stored. What
 * `signal` or the first failure of `work` finds under way is cancelled, and the rest is not begun.
 *
 * @param aborted message of the ERR_ABORTED for videos that `signal` finds waiting
 * @throws ERR_ABORTED, or what `work` failed with first; nothing runs any more then
 */
export async function forEachVideo(
  samples: readonly VideoSample[],
  { signal, aborted }: { signal: AbortSignal | undefined; aborted: string },
  work: (sample: VideoSample, cancel: CancelToken) => Promise<void>,
): Promise<void> {
  const cancel = videoAddon().createCancelToken();
  const stop = () => videoAddon().cancel(cancel);
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop);
  let end: { error: unknown } | undefined; // what ends the work, for the videos under way and those that wait
  const attempt = async (sample: VideoSample): Promise<void> => {
    if (signal?.aborted || end) throw abortError(signal, aborted);
    try {
      await work(sample, cancel);
    } catch (error) {
      end ??= { error };
      stop();
      throw error;
    }
  };
  try {
    const limiter = new Limiter(usableCores());
    const jobs = inStoredOrder(samples).map((sample) => limiter.run(() => attempt(sample)));
    const results = await Promise.allSettled(jobs);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw withReason(end ? end.error : failed.reason, signal);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
