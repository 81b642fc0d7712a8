// Where a process writes files that are not finished yet. What a killed one leaves is told from what a running one writes.
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { writeError } from '../io/atomic_file';
import { readError } from '../io/file_bytes';

const prefix = '.unfinished-';

/**
 * Makes a folder in `store` for files that `body` moves away once they are whole, and removes it with all that is left in
 * it. Removes those of processes of this machine that were killed, too; other machines may share the store.
 *
 * @throws ERR_FILE_WRITE, ERR_FILE_READ, or what `body` throws
 */
export async function withWorkFolder<T>(store: string, body: (folder: string) => Promise<T>): Promise<T> {
  await removeAbandoned(store);
  const folder = await mkdtemp(join(store, `${prefix}${hostname()}-${process.pid}-`)).catch((error) => {
    throw writeError(store, error);
  });
  let result: T;
  try {
    result = await body(folder);
  } catch (error) {
    await remove(folder).catch(() => {}); // what went wrong first is the one to tell
    throw error;
  }
  await remove(folder);
  return result;
}

async function removeAbandoned(store: string): Promise<void> {
  const names = await readdir(store).catch((error) => {
    throw readError(store, error);
  });
  for (const name of names) if (await isAbandoned(store, name)) await remove(join(store, name));
}

async function isAbandoned(store: string, name: string): Promise<boolean> {
  const [, host, pid] = /^\.unfinished-(.+)-(\d+)-[^-]+$/.exec(name) ?? [];
  if (host !== hostname()) return false;
  if (Number(pid) !== process.pid) return !isRunning(Number(pid));
  // In a container that was started again, numbers of processes come again.
  const began = Date.now() - 1000 * process.uptime();
  const { mtimeMs } = await stat(join(store, name)).catch(() => ({ mtimeMs: began })); // another call has removed it
  return mtimeMs < began;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'; // it runs, and is somebody else's
  }
}

async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch((error) => {
    throw writeError(folder, error);
  });
}
