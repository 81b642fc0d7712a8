import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Path of a recorded reference file. */
export function goldenPath(name: string): string {
  return join(__dirname, '../fixtures/golden', name);
}

/** A recorded reference JSON file, read as `T`. */
export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(goldenPath(name), 'utf8')) as T;
}
