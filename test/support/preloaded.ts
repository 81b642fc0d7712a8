import { execFileSync, spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { buildCli } from './built_cli';

const dist = resolve(__dirname, '../../dist');

/** Builds a library that stands before the C library, from a file of test/native, into `folder`. */
export function buildPreload(folder: string, source: string): string {
  const library = join(folder, source.replace(/\.c$/, '.so'));
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, join(__dirname, '../native', source), '-ldl']);
  return library;
}

/**
 * Runs the body of an async function in a fresh node that has `library` loaded, and returns the lines it prints. `load(path)`
 * in it is a module of dist/, `words` are in `process.argv` from 1 on.
 * @param options.limit a shell command before, such as `ulimit -n 64`
 */
export function runPreloaded(
  library: string,
  body: string,
  words: readonly string[],
  options: { env?: Record<string, string>; limit?: string } = {},
): string[] {
  buildCli();
  const script = `const load = (path) => require(${JSON.stringify(dist)} + '/' + path);
    (async () => { ${body} })();`;
  const { status, stdout, stderr } = spawnSync(
    'sh',
    ['-c', `${options.limit ?? ':'}; exec "$0" -e "$@"`, process.execPath, script, ...words],
    {
      encoding: 'utf8',
      env: { ...process.env, LD_PRELOAD: library, ...options.env },
      timeout: 40000,
    },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.trim().split('\n');
}
