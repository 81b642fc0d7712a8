import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeFolder, writeText } from '../../lib/io/text_file';
import { buildCli } from '../support/built_cli';
import { expectCode, temporaryFolder } from './helpers';

const folder = temporaryFolder();

test('text is written as UTF-8 in place of what was there, or not at all', async () => {
  const path = join(folder, 'text');
  await writeText(path, 'old, and longer');
  await writeText(path, 'naïve\n');
  expect(readFileSync(path)).toEqual(Buffer.from('naïve\n'));
  expect(readdirSync(folder)).toEqual(['text']);
  await expectCode(
    writeText(join(folder, 'none/text'), ''),
    'ERR_FILE_WRITE',
    /none\/text cannot be written: there is no folder .*none$/,
  );
});

describe('makeFolder', () => {
  it('makes those above too and leaves one that is there', async () => {
    const deep = join(folder, 'a/b/c');
    await makeFolder(deep);
    writeFileSync(join(deep, 'file'), '');
    await makeFolder(deep);
    await makeFolder('/');
    expect(readdirSync(deep)).toEqual(['file']);
  });

  it('is made once by many at a time', async () => {
    const deep = join(folder, 'many/x/y');
    await Promise.all(Array.from({ length: 20 }, () => makeFolder(deep)));
    expect(statSync(deep).isDirectory()).toBe(true);
  });

  it('follows links to folders', async () => {
    mkdirSync(join(folder, 'real'));
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
    await makeFolder(join(folder, 'link/below'));
    expect(existsSync(join(folder, 'real/below'))).toBe(true);
  });

  it('names what is in the way', async () => {
    const file = join(folder, 'in_the_way');
    writeFileSync(file, '');
    await expectCode(
      makeFolder(file),
      'ERR_FILE_WRITE',
      /in_the_way cannot be written: .*in_the_way is not a folder$/,
    );
    const below = makeFolder(join(file, 'x/y'));
    await expectCode(
      below,
      'ERR_FILE_WRITE',
      /in_the_way\/x\/y cannot be written: .*in_the_way is not a folder$/,
    );
    symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling'));
    await expectCode(makeFolder(join(folder, 'dangling')), 'ERR_FILE_WRITE', /dangling is not a folder$/);
  });
});

/** What making a folder comes to in a process of its own, which is ended after ten seconds; `prefix` starts it. */
function makeElsewhere(path: string, ...prefix: string[]): string {
  const library = join(buildCli(), '../../io/text_file.js');
  const code = `require(${JSON.stringify(library)}).makeFolder(${JSON.stringify(path)}).then(
    () => console.log('made'), (error) => console.log(error.code, error.message))`;
  const [program, ...words] = [...prefix, process.execPath, '-e', code];
  const { stdout, signal } = spawnSync(program!, words, {
    encoding: 'utf8',
    timeout: 10_000,
    killSignal: 'SIGKILL',
  });
  return signal ?? stdout;
}

const testOnLinux = process.platform === 'linux' ? test : test.skip;

testOnLinux('where the system makes no folders, that is said', () => {
  const path = '/proc/no_such_process/below';
  expect(makeElsewhere(path)).toBe(
    'ERR_FILE_WRITE /proc/no_such_process cannot be made: there can be no new folder in /proc\n',
  );
});

// Mounting takes root or namespaces of users: where there is neither, this says so and skips.
const mounts = ['unshare', '--map-root-user', '--mount', 'sh', '-c'];
const canMount = spawnSync(mounts[0]!, [...mounts.slice(1), 'mount -t tmpfs none /mnt']).status === 0;
if (!canMount)
  process.stderr.write('text_file.test.ts leaves out read-only file systems: nothing can be mounted\n');

(canMount ? test : test.skip)('a read-only file system is named as such', () => {
  const script = 'mount -t tmpfs -o ro none /mnt && exec "$@"';
  expect(makeElsewhere('/mnt/a/b', ...mounts, script, 'sh')).toBe(
    'ERR_FILE_WRITE /mnt/a/b cannot be written: read-only file system (EROFS)\n',
  );
});
