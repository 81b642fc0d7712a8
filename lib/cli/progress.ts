import { basename } from 'node:path';
import { Presets, SingleBar } from 'cli-progress';
import { type EngineEvent, type Listener, logLines } from '../engine/events';
import { note, print, shown } from './terminal';

/**
 * Shows what the engine reports: log lines on standard output and, when standard error is a terminal, a progress bar
 * under them.
 */
export function progressListener(): Listener & { stop(): void } {
  const bar = openProgressBar();
  const listener = (event: EngineEvent) => {
    const lines = logLines(event);
    if (lines.length > 0) bar?.clear();
    for (const line of lines) {
      if (isWarning(event)) note(line);
      else print(line);
    }
    if (event.kind === 'train')
      bar?.show(`epoch ${event.epoch + 1}/${event.epochs}`, event, `loss ${event.loss.toFixed(4)}`);
    if (event.kind === 'listing') bar?.showListing(event.archive, event.done, event.total);
    if (event.kind === 'test') bar?.show('test', event, `Acc@1 ${event.top1.toFixed(1)}`);
  };
  return Object.assign(listener, { stop: () => bar?.stop() });
}

/**
 * Shows bad videos alone: what a process tells that is not rank 0 of its job. It has a share of the videos to itself;
 * other warnings are those of rank 0 too.
 */
export function badVideoListener(): Listener & { stop(): void } {
  const listener = (event: EngineEvent) => {
    if (isBadVideo(event)) for (const line of logLines(event)) note(line);
  };
  return Object.assign(listener, { stop: () => {} });
}

function isWarning(event: EngineEvent): boolean {
  return isBadVideo(event) || (event.kind === 'message' && event.warning === true);
}

function isBadVideo({ kind }: EngineEvent): boolean {
  return kind === 'failure' || kind === 'damage';
}

/** Shows how archives are listed: a line when it begins and, where there is a bar, how far it is. */
export function listingReports(bar?: ProgressBar): (archive: string, done: number, total: number) => void {
  return (archive, done, total) => {
    for (const line of logLines({ kind: 'listing', archive, done, total })) note(line);
    bar?.showListing(archive, done, total);
  };
}

/** A bar where standard error is a terminal that can show one. */
export function openProgressBar(): ProgressBar | undefined {
  return process.stderr.isTTY && process.env.TERM !== 'dumb' ? new ProgressBar() : undefined;
}

/**
 * Columns of the bar alone, in a line that shows `what`, `step/steps`, the time left and `figure` beside it: what a narrow
 * terminal cuts off should not be the numbers.
 */
function barSize(columns: number, what: string, steps: number, figure: string): number {
  const longestTime = '9h59m'.length;
  const others = what.length + 2 * `${steps}`.length + 1 + longestTime + figure.length;
  const growth = 3; // of the figure
  return Math.max(0, Math.min(40, columns - others - growth - 4));
}

/** One bar that starts anew whenever a count begins again. */
export class ProgressBar {
  private bar: SingleBar | undefined;
  private what = '';

  /** @param stream a terminal */
  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {}

  show(what: string, { step, steps }: { step: number; steps: number }, figure: string): void {
    if (this.what !== what) {
      this.stop();
      this.bar = new SingleBar(
        {
          format: '{what} {bar} {value}/{total} {eta_formatted} {figure}',
          barsize: barSize(this.stream.columns || 80, what, steps, figure),
          stream: this.stream,
          hideCursor: true,
          clearOnComplete: true,
          etaBuffer: 20,
        },
        Presets.shades_classic,
      );
      this.bar.start(steps, step, { what, figure });
      this.what = what;
    }
    this.bar?.update(step + 1, { figure });
    if (step + 1 === steps) this.stop();
  }

  /** How far an archive of `total` bytes is listed. */
  showListing(archive: string, done: number, total: number): void {
    const steps = Math.max(1, Math.ceil(total / 1e6));
    const step = Math.max(0, Math.ceil((steps * done) / total) - 1);
    this.show(`list ${shown(basename(archive))}`, { step, steps }, 'MB');
  }

  /** Makes room for a line. The bar comes back at its next update. */
  clear(): void {
    if (this.what) this.stream.write('\r\x1b[K');
  }

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
    this.what = '';
  }
}
