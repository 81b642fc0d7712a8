import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { CodedError } from '../base/error';

/** Names the descriptor of a socket whose other end the launcher alone holds. */
export const launcherVariable = 'JOB_LAUNCHER_FD';

let gone: AbortSignal | null = null;

/**
 * Aborts when the `launch` that started this process is gone before it, killed perhaps: nobody hears this process any
 * more, nor passes signals on to it. Waiting for that keeps no process alive.
 *
 * @returns null where no `launch` started this process
 * @throws ERR_DISTRIBUTED when JOB_LAUNCHER_FD names no open socket
 *
 * @example
 * distributed.launcherSignal()?.addEventListener('abort', () => process.exit(1));
 */
export function launcherSignal(): AbortSignal | null {
  gone ??= watch();
  return gone;
}

function watch(): AbortSignal | null {
  const text = process.env[launcherVariable];
  if (text === undefined) return null;
  // Programs that this one starts have no such socket.
  delete process.env[launcherVariable];
  const controller = new AbortController();
  const end = () => controller.abort();
  const socket = new Socket({ fd: descriptorOf(text), readable: true, writable: false });
  socket.once('close', end);
  socket.on('error', () => {}); // 'close' follows
  socket.unref().resume();
  return controller.signal;
}

function descriptorOf(text: string): number {
  try {
    if (/^\d{1,4}$/.test(text) && fstatSync(Number(text)).isSocket()) return Number(text);
  } catch {
    // It is not open.
  }
  throw new CodedError(
    'ERR_DISTRIBUTED',
    `the environment variable ${launcherVariable} is "${text}", which is no open socket. "launch" sets it for each process; unset it to run alone`,
  );
}
