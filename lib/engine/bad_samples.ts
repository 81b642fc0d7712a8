import type { Batch } from '../data/batch';
import type { EngineEvent, Listener } from './events';

/** Reports the samples of a batch that could not be loaded, and those that may show traces of damaged frames. */
export function reportBadSamples({ failed, damaged }: Batch, emit: Listener): void {
  for (const failure of failed) emit({ ...failure, kind: 'failure' });
  for (const damage of damaged) emit({ ...damage, kind: 'damage' });
}

/**
 * Names each bad video once, however many epochs meet it again: of 240,000 videos some thousand are bad. What an epoch
 * met is counted in {@link EpochEnd}.
 */
export function oncePerVideo(listener: Listener): Listener {
  const known = new Set<string>();
  return (event: EngineEvent) => {
    if (event.kind === 'failure' || event.kind === 'damage') {
      const key = `${event.kind} ${event.path}`;
      if (known.has(key)) return;
      known.add(key);
    }
    listener(event);
  };
}
