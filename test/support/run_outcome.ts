import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../lib/config/schema';
import type { EngineEvent, TrainStep } from '../../lib/engine/events';
import { run } from '../../lib/engine/run';

/** What a run came to. */
export interface Outcome {
  losses: number[];
  rates: number[];
  events: EngineEvent[];
  error?: { code: string; message: string };
  top1: number[];
}

/** Runs to the end, or to the abort that `stopAt` asks for; `output` '' writes nothing. */
export async function outcomeOf(config: Config, stopAt?: (event: EngineEvent) => boolean): Promise<Outcome> {
  const controller = new AbortController();
  const events: EngineEvent[] = [];
  const listener = (event: EngineEvent) => {
    events.push(event);
    if (stopAt?.(event)) controller.abort();
  };
  let error: Outcome['error'];
  // One thread: on a busy machine several wait for each other far longer than such a small model computes.
  await run(config, { listener, signal: controller.signal, threads: 1 }).catch((caught) => {
    error = caught;
  });
  const steps = events.filter((event): event is TrainStep => event.kind === 'train');
  return {
    losses: steps.map(({ loss }) => loss),
    rates: steps.map(({ lr }) => lr),
    top1: events.flatMap((event) => (event.kind === 'accuracy' ? [event.top1] : [])),
    events,
    error,
  };
}

/** The table at the top of a report. */
export function factsOf(page: string): Record<string, string> {
  const rows = page.matchAll(/<tr><th>([^<]*)<\/th><td>([^<]*)<\/td><\/tr>/g);
  return Object.fromEntries(Array.from(rows, ([, name, value]) => [name!, value!]));
}

/** The lines of a text file. */
export function linesOf(...path: string[]): string[] {
  return readFileSync(join(...path), 'utf8')
    .trimEnd()
    .split('\n');
}
