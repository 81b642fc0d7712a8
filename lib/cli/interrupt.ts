import { constants } from 'node:os';
import { hasCode } from '../base/error';
import { note } from './terminal';

const signals = ['SIGINT', 'SIGTERM'] as const;

/**
 * Signals this soon after the first one are the same one again: npx passes on the Ctrl-C that the terminal has sent to
 * its child as well, and `timeout` signals the process and then its group.
 */
const echoMilliseconds = 500;

/**
 * Runs `work` with an AbortSignal that fires at the first SIGINT or SIGTERM, so that it can save what it has; the second
 * ends the process at once. After an interrupted run the exit status is 128 plus the signal's number (Ctrl-C: 130).
 *
 * @param hint printed at the first signal; null to print nothing
 * @param launcher once it has fired, that counts as the first SIGTERM
 */
export async function interruptible<T>(
  hint: string | null,
  work: (signal: AbortSignal) => Promise<T>,
  launcher: AbortSignal | null = null,
): Promise<T | undefined> {
  const controller = new AbortController();
  let status = 0;
  let mayBeEcho = true;
  const stop = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) {
      if (!mayBeEcho) process.exit(status);
      return;
    }
    // By a round of the event loop, which may have stood still meanwhile: what came in time is delivered before it ends.
    const endOfEchoes = () => setImmediate(() => (mayBeEcho = false));
    setTimeout(endOfEchoes, echoMilliseconds).unref();
    status = 128 + constants.signals[name];
    if (hint !== null) note(`\n${hint}; once more to stop at once`);
    controller.abort();
  };
  const orphaned = () => {
    if (!controller.signal.aborted) stop('SIGTERM');
  };
  for (const name of signals) process.on(name, stop);
  launcher?.addEventListener('abort', orphaned);
  if (launcher?.aborted) orphaned();
  try {
    return await work(controller.signal);
  } catch (error) {
    if (status === 0 || !hasCode(error, 'ERR_ABORTED')) throw error;
    if (hint !== null) note((error as Error).message);
    process.exitCode = status;
    return undefined;
  } finally {
    for (const name of signals) process.off(name, stop);
    launcher?.removeEventListener('abort', orphaned);
  }
}
