import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeAbandoned, writeAtomically } from '../../lib/io/atomic_file';
import { buildCli } from '../support/built_cli';
import { expectCode, temporaryFolder } from './helpers';

const folder = temporaryFolder();

describe('writeAtomically', () => {
  it('replaces a file and leaves nothing else', async () => {
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    const progress: number[][] = [];
    await writeAtomically(
      path,
      6,
      async (file) => {
        await file.append(Buffer.from('abc'));
        expect(readFileSync(path, 'utf8')).toBe('old');
        await file.append(Buffer.from('def'));
        await file.overwrite(1, Buffer.from('BC'));
        expect(file.position).toBe(6);
      },
      { onProgress: (...numbers) => progress.push(numbers) },
    );
    expect(readFileSync(path, 'utf8')).toBe('aBCdef');
    expect(progress).toEqual([
      [3, 6],
      [6, 6],
      [6, 6],
    ]);
    expect(readdirSync(folder)).toEqual(['a']);
  });

  it('keeps the old file when writing fails or is aborted', async () => {
    const path = join(folder, 'a');
    writeFileSync(path, 'old');
    const failing = writeAtomically(path, 1, async (file) => {
      await file.append(Buffer.from('new'));
      throw new Error('no more');
    });
    await expect(failing).rejects.toThrow('no more');
    const stop = new AbortController();
    const aborted = writeAtomically(
      path,
      1,
      async (file) => {
        await file.append(Buffer.from('new'));
        stop.abort();
        await file.append(Buffer.from('new'));
      },
      { signal: stop.signal },
    );
    await expectCode(aborted, 'ERR_ABORTED', /aborted/);
    const late = writeAtomically(path, 1, (file) => file.append(Buffer.alloc(0)), { signal: stop.signal });
    await expectCode(late, 'ERR_ABORTED', /aborted/);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['a']);
  });

  it('says which file cannot be written', async () => {
    const write = async (): Promise<void> => undefined;
    await expectCode(
      writeAtomically(join(folder, 'none/b'), 0, write),
      'ERR_FILE_WRITE',
      /none\/b cannot be written/,
    );
    await expectCode(writeAtomically(folder, 0, write), 'ERR_FILE_WRITE', /cannot be written/);
  });

  it('leaves nothing behind when the process exits in the middle', () => {
    const library = join(buildCli(), '../../io/atomic_file.js');
    const target = join(folder, 'exit', 'half');
    mkdirSync(join(folder, 'exit'));
    const code = `require(${JSON.stringify(library)}).writeAtomically(${JSON.stringify(target)}, 6, async (file) => {
      await file.append(Buffer.from('abc'));
      console.log(require('node:fs').readdirSync(${JSON.stringify(join(folder, 'exit'))}).length);
      process.exit(3);
    })`;
    const { status, stdout } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
    expect([status, stdout]).toEqual([3, '1\n']);
    expect(readdirSync(join(folder, 'exit'))).toEqual([]);
  });
});

test('what killed processes left is removed, what running ones write is not', async () => {
  const place = join(folder, 'killed');
  mkdirSync(place);
  const library = join(buildCli(), '../../io/atomic_file.js');
  const code = `require(${JSON.stringify(library)}).writeAtomically(process.argv[1], 3, async (file) => {
    await file.append(Buffer.from('abc'));
    process.kill(process.pid, 'SIGKILL');
  })`;
  const { signal } = spawnSync(process.execPath, ['-e', code, join(place, 'half.pth')]);
  expect(signal).toBe('SIGKILL');
  const [left] = readdirSync(place);
  expect(left).toMatch(/^\.half\.pth\.\d+\.[0-9a-f]{8}\.tmp$/);
  // One that had our own number, as happens in containers; files that only look alike.
  const ours = `.half.pth.${process.pid}.01234567.tmp`;
  const others = [
    '.half.pth.tmp',
    `half.pth.${process.pid}.01234567.tmp`,
    `.half.pth.${process.ppid}.01234567.tmp`,
  ];
  for (const name of [ours, ...others]) writeFileSync(join(place, name), '');
  await writeAtomically(join(place, 'whole.pth'), 3, async (file) => {
    await removeAbandoned(place);
    await file.append(Buffer.from('abc'));
  });
  expect(readdirSync(place).sort()).toEqual([...others, 'whole.pth'].sort());
});
