import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

export const root = join(__dirname, '../..');

export interface Source {
  /** From the package's root, with forward slashes. */
  path: string;
  text: string;
}

/** All files below `folders` whose names end in one of `extensions`. */
export function sources(folders: string[], extensions: string[]): Source[] {
  const found: Source[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (extensions.some((extension) => entry.name.endsWith(extension))) {
        found.push({ path: relative(root, path).replaceAll('\\', '/'), text: readFileSync(path, 'utf8') });
      }
    }
  };
  for (const folder of folders) walk(join(root, folder));
  return found;
}
