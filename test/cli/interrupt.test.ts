import { spawnSync } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { join } from 'node:path';
import { CodedError } from '../../lib/base/error';
import { interruptible } from '../../lib/cli/interrupt';
import { buildCli } from '../support/built_cli';

let notes = '';
beforeEach(() => {
  notes = '';
  process.exitCode = undefined;
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
    notes += text;
    return true;
  });
});
afterEach(() => {
  process.exitCode = undefined;
  jest.restoreAllMocks();
});

/** Work that goes on until it is aborted and then takes `milliseconds` to save. */
function working(milliseconds: number): (signal: AbortSignal) => Promise<never> {
  return (signal) =>
    new Promise((_, reject) => {
      const save = () => setTimeout(reject, milliseconds, new CodedError('ERR_ABORTED', 'saved'));
      signal.addEventListener('abort', save);
    });
}

test('the first signal aborts, its echo is ignored, and the status says which it was', async () => {
  const exit = jest.spyOn(process, 'exit').mockImplementation();
  const done = interruptible('stopping', working(20));
  process.emit('SIGTERM', 'SIGTERM');
  process.emit('SIGTERM', 'SIGTERM');
  expect(await done).toBeUndefined();
  expect(process.exitCode).toBe(143);
  expect(exit).not.toHaveBeenCalled();
  expect(notes).toBe('\nstopping; once more to stop at once\nsaved\n');
  expect(process.listenerCount('SIGTERM')).toBe(0);
});

test('a second signal later ends the process at once', async () => {
  const exit = jest.spyOn(process, 'exit').mockImplementation();
  const done = interruptible('stopping', working(800));
  process.emit('SIGINT', 'SIGINT');
  setTimeout(() => process.emit('SIGINT', 'SIGINT'), 600);
  await done;
  expect(exit).toHaveBeenCalledWith(130);
});

test('a signal that came in time is an echo, however late it is looked at', () => {
  const library = join(buildCli(), '../../cli/interrupt.js');
  const code = `require(${JSON.stringify(library)}).interruptible('stopping', (signal) =>
    new Promise((_, reject) => {
      const work = setInterval(() => {}, 100);
      signal.addEventListener('abort', () => {
        clearInterval(work);
        setTimeout(reject, 800, Object.assign(new Error('saved'), { code: 'ERR_ABORTED' }));
        process.kill(process.pid, 'SIGINT');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700); // the event loop stands still
      });
      process.kill(process.pid, 'SIGINT');
    }))`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  expect([status, stderr]).toEqual([130, '\nstopping; once more to stop at once\nsaved\n']);
});

/** Work that ends as soon as it is asked to. */
async function willing(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort');
  throw new CodedError('ERR_ABORTED', 'saved');
}

test.each(['before', 'meanwhile'])('a launcher that has gone %s counts as SIGTERM', async (when) => {
  const launcher = new AbortController();
  if (when === 'before') launcher.abort();
  const done = interruptible('stopping', willing, launcher.signal);
  launcher.abort();
  expect(await done).toBeUndefined();
  expect(process.exitCode).toBe(143);
  expect(getEventListeners(launcher.signal, 'abort')).toEqual([]);
});

test('a launcher that goes after a signal is no second one', async () => {
  const exit = jest.spyOn(process, 'exit').mockImplementation();
  const launcher = new AbortController();
  const done = interruptible('stopping', working(700), launcher.signal);
  process.emit('SIGINT', 'SIGINT');
  setTimeout(() => launcher.abort(), 600);
  await done;
  expect(exit).not.toHaveBeenCalled();
  expect(process.exitCode).toBe(130);
});

test('results and other errors pass through', async () => {
  expect(await interruptible('stopping', async () => 5)).toBe(5);
  const failing = interruptible('stopping', async () => {
    throw new CodedError('ERR_ABORTED', 'by somebody else');
  });
  await expect(failing).rejects.toMatchObject({ code: 'ERR_ABORTED' });
});
