import { existsSync } from 'node:fs';
import { isAbsolute, join, normalize, sep } from 'node:path';

const PACKAGE_ROOT = join(__dirname, '..', '..');
const SHIPPED_FOLDERS = ['configs', 'labels'];

/**
 * Where a file is that may be one of those this package ships: `path` itself if it exists, or else, for relative paths
 * into `configs/` and `labels/`, the shipped file. So `configs/k400/32_8.yaml` works in any folder.
 */
export function resolveShipped(path: string): string {
  if (existsSync(path) || isAbsolute(path)) return path;
  const relative = normalize(path);
  const shipped = join(PACKAGE_ROOT, relative);
  return SHIPPED_FOLDERS.includes(relative.split(sep)[0]!) && existsSync(shipped) ? shipped : path;
}
