import { CodedError } from '../../lib/base/error';
import { exitOnClosedPipe, printError } from '../../lib/cli/terminal';

let notes = '';
beforeEach(() => {
  notes = '';
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
    notes += text;
    return true;
  });
});
afterEach(() => {
  jest.restoreAllMocks();
  process.exitCode = undefined;
});

test('only errors that were foreseen have their code', () => {
  printError(new CodedError('ERR_USAGE', 'so not'));
  printError(Object.assign(new Error('gone'), { code: 'ENOENT' }));
  printError('a text');
  expect(notes).toBe('error ERR_USAGE: so not\nerror ERR_INTERNAL: gone\nerror ERR_INTERNAL: a text\n');
});

test('a reader that goes away leaves the status as it was', () => {
  const exit = jest.spyOn(process, 'exit').mockImplementation(() => {
    throw new Error('the end');
  });
  exitOnClosedPipe();
  const closed = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  const listener = process.stdout.listeners('error').at(-1)!;
  for (const status of [undefined, 1]) {
    process.exitCode = status;
    expect(() => listener(closed)).toThrow('the end');
  }
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  expect(() => listener(full)).toThrow(full);
  expect(exit.mock.calls).toEqual([[0], [1]]);
  for (const stream of [process.stdout, process.stderr]) {
    stream.off('error', stream.listeners('error').at(-1) as () => void);
  }
});
