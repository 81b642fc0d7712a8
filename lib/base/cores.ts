import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, posix } from 'node:path';

/**
 * How many threads this process can keep busy: the cores that it may run on, or fewer where its control group, which is
 * how containers are limited, is granted less time than they have. More threads than that do not share the time but are
 * all stopped when it is used up.
 *
 * @param root where /proc and /sys are looked for
 * @param cores that the process may run on
 */
export function usableCores(root = '/', cores = availableParallelism()): number {
  return Math.max(1, Math.min(cores, Math.ceil(grantedCores(root))));
}

/** Cores' worth of time that the control group and those around it grant; Infinity without a limit. */
function grantedCores(root: string): number {
  let least = Number.POSITIVE_INFINITY;
  for (const line of read(join(root, 'proc/self/cgroup')).split('\n')) {
    // "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1.
    const [, controllers, path] = /^\d+:([^:]*):(.+)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const mounts =
      controllers === ''
        ? ['', 'unified']
        : controllers.split(',').includes('cpu')
          ? ['cpu', controllers]
          : [];
    for (const mount of mounts) {
      // A container sees its own group as the root, while the path may be that of outside.
      for (let group = path; ; group = posix.dirname(group)) {
        least = Math.min(least, quota(join(root, 'sys/fs/cgroup', mount, group)));
        if (group === '/' || group === '.') break;
      }
    }
  }
  return least;
}

/** Quota by period of one group: of version 2 "150000 100000" or "max 100000", of version 1 two files, -1 for no limit. */
function quota(group: string): number {
  const [granted, period] = read(join(group, 'cpu.max')).split(' ').map(Number);
  const share = period
    ? granted! / period
    : Number(read(join(group, 'cpu.cfs_quota_us'))) / Number(read(join(group, 'cpu.cfs_period_us')));
  return share > 0 ? share : Number.POSITIVE_INFINITY;
}

/** The text of a small file, empty where there is none. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
