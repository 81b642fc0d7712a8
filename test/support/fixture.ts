import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The path of a file under test/fixtures. */
export function fixturePath(name: string): string {
  return join(__dirname, '..', 'fixtures', name);
}

/** A JSON file under test/fixtures. */
export function readFixture<T>(name: string): T {
  return JSON.parse(readFileSync(fixturePath(name), 'utf8')) as T;
}
