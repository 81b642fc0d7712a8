import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';

/**
 * How many threads of this process yield to all others (nice 19), as /proc knows; null where there is no /proc, or where
 * the process was started so that all do.
 */
export function yieldingThreads(): number | null {
  if (getPriority() === 19) return null;
  try {
    return readdirSync('/proc/self/task').filter((thread) => niceness(thread) === 19).length;
  } catch {
    return null;
  }
}

/** The nice value of a thread of this process, unless it has ended. */
function niceness(thread: string): number | null {
  try {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    return Number(stat.split(') ').at(-1)!.split(' ')[16]);
  } catch {
    return null;
  }
}
