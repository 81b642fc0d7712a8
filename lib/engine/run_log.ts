import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeError } from '../io/atomic_file';
import { type EngineEvent, type Listener, logLines } from './events';

/** Names of the files in a run's output folder. */
export const LOG_FILE = 'log_rank0.txt';
export const METRICS_FILE = 'metrics.jsonl';

/** The `kind` of the record in metrics.jsonl from which on the present run counts. */
export const RUN_BEGINS = 'begin';

/**
 * A listener that appends to two files in `folder`, which must be there: `log_rank0.txt`, lines as a person reads them
 * with the time in front, and `metrics.jsonl`, one JSON object per logged step, epoch, accuracy, checkpoint and
 * bad video, numbers unrounded. A resumed run appends; a run that begins anew says so in a record, and a report then
 * leaves out what stands before it.
 *
 * @throws ERR_FILE_WRITE
 */
export function runLog(folder: string, resumed: boolean): Listener {
  const append = (file: string, lines: readonly string[]) => {
    if (lines.length === 0) return;
    appendText(join(folder, file), lines.map((line) => `${line}\n`).join(''));
  };
  if (resumed) {
    for (const file of [LOG_FILE, METRICS_FILE]) endLastLine(join(folder, file));
  } else {
    append(METRICS_FILE, [JSON.stringify({ kind: RUN_BEGINS })]);
  }
  return (event) => {
    const time = new Date().toISOString().slice(0, 19).replace('T', ' ');
    append(
      LOG_FILE,
      logLines(event).map((line) => `[${time}] ${line}`),
    );
    if (isMetric(event)) append(METRICS_FILE, [JSON.stringify(event)]);
  };
}

/** A crash may have cut the last line short; what comes next must not be joined to it. */
function endLastLine(path: string): void {
  if (existsSync(path) && (readFileSync(path).at(-1) ?? 0x0a) !== 0x0a) appendText(path, '\n');
}

function appendText(path: string, text: string): void {
  try {
    appendFileSync(path, text);
  } catch (error) {
    throw writeError(path, error);
  }
}

function isMetric(event: EngineEvent): boolean {
  if (event.kind === 'message' || event.kind === 'listing' || event.kind === 'test') return false;
  return event.kind !== 'train' || event.logged;
}
