// What the commands print goes through here: results to standard output, everything else to standard error.
import { isOwnWarning, type WarningCode } from '../base/warning';

/** Prints a line of the result. */
export function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** Prints a line that is not part of the result: progress, hints, warnings. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Prints an error as one line, `error CODE: message`; a stack follows when the environment variable DEBUG is set.
 * Errors that this package did not foresee have the code ERR_INTERNAL.
 */
export function printError(error: unknown): void {
  const { name, code, message, stack } = error as Partial<Error & { code: string }>;
  const known = name === 'CodedError' && code ? code : 'ERR_INTERNAL';
  note(`error ${known}: ${message ?? String(error)}`);
  if (process.env.DEBUG && stack) note(stack);
}

/** Warnings that another process prints. */
const leftToOthers = new Set<WarningCode>();

/** Leaves a warning to another process, which has the same to say. */
export function leaveToOthers(code: WarningCode): void {
  leftToOthers.add(code);
}

/**
 * Prints the warnings of this package as one line, `warning CODE: message`, without what Node adds for programmers. Other
 * warnings are printed by Node as ever, and with --no-warnings there are none.
 */
export function printOwnWarnings(): void {
  const nodes = process.listeners('warning');
  if (nodes.length === 0) return;
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    if (!isOwnWarning(warning)) for (const listener of nodes) listener.call(process, warning);
    else if (!leftToOthers.has(warning.code)) note(`warning ${warning.code}: ${warning.message}`);
  });
}

/**
 * Ends the process quietly when whoever reads our output has gone away (`xclip-native … | head`), instead of failing with
 * EPIPE in the middle of something.
 */
export function exitOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
      throw error;
    });
  }
}
