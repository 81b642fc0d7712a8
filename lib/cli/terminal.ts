// What the commands print goes through here: results to standard output, everything else to standard error.
import { CodedError } from '../base/error';
import { systemReason } from '../base/system_reason';
import { isOwnWarning, type WarningCode } from '../base/warning';

/** Prints a line of the result. */
export function print(line = ''): void {
  process.stdout.write(`${shown(line)}\n`);
}

/** Prints a line that is not part of the result: progress, hints, warnings. */
export function note(line: string): void {
  process.stderr.write(`${shown(line)}\n`);
}

/**
 * The text with control characters written out, but for those of lines and tabs. Names of files and classes are made by
 * others, and a terminal would do what such characters say. In JSON they mean the same as before.
 *
 * @example
 * shown('\u001b[31m.mp4'); // '\\u001b[31m.mp4'
 */
export function shown(text: string): string {
  return text.replaceAll(
    /(?![\n\t])\p{Cc}/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
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
 * Ends the process when nobody takes our output: quietly when whoever read it has gone away (`xclip-native … | head`), with
 * an error when the disk that results go to is full. Without standard error, work and status are what they are with it.
 */
export function exitOnLostOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
      if (stream === process.stderr) return;
      const reason = `standard output cannot be written: ${systemReason(error)}`;
      printError(new CodedError('ERR_FILE_WRITE', reason));
      process.exit(1);
    });
  }
}
