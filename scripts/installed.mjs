// Whether this is a package somebody has installed, and not a clone of the project.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** True below a node_modules folder, where a compiler's warning does not end the build. */
export const installed = dirname(fileURLToPath(import.meta.url))
  .split(/[\\/]/)
  .includes('node_modules');
