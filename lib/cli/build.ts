import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { CodedError } from '../base/error';
import { computeAddonFile, native, packageRoot } from '../native/load';
import { videoAddon, videoAddonFile } from '../native/video';
import { print } from './terminal';

/** Adds `build`: what `npm install` does, where everything it says can be seen. */
export function addBuild(program: Command): void {
  program
    .command('build')
    .description('build the native addons of this installation, or say what that needs')
    .action(build);
}

function build(): void {
  // A file that does not load was built for another machine, as were the objects beside it.
  for (const [file, folder] of [
    [computeAddonFile(), 'build'],
    [videoAddonFile(), 'bindings/video/build'],
  ] as const) {
    if (!loads(file)) rmSync(join(packageRoot(), folder), { recursive: true });
  }
  const setup = join(packageRoot(), 'scripts/setup.mjs');
  const { status, error } = spawnSync(process.execPath, [setup, '--native'], { stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    throw new CodedError(
      'ERR_NATIVE_LOAD',
      `the addons are not built${error ? `: ${error.message}` : '; see above'}`,
    );
  }
  native();
  videoAddon();
  print(`${computeAddonFile()}\n${videoAddonFile()}`);
}

/** Whether there is no such file, or it is as it should be. */
function loads(file: string): boolean {
  if (!existsSync(file)) return true;
  try {
    require(file);
    return true;
  } catch {
    return false;
  }
}
