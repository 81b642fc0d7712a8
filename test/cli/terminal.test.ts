import { CodedError } from '../../lib/base/error';
import { exitOnLostOutput, note, printError } from '../../lib/cli/terminal';

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

test('a name cannot make the terminal do anything', () => {
  note('a\tb\n\u001b]0;title\u0007 \u009b2J é \r\u007f');
  expect(notes).toBe('a\tb\n\\u001b]0;title\\u0007 \\u009b2J é \\u000d\\u007f\n');
});

test('a reader that goes away leaves the status as it was, an output that fails does not', () => {
  const exit = jest.spyOn(process, 'exit').mockImplementation(() => {
    throw new Error('the end');
  });
  exitOnLostOutput();
  const closed = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  const listener = process.stdout.listeners('error').at(-1)!;
  for (const status of [undefined, 1]) {
    process.exitCode = status;
    expect(() => listener(closed)).toThrow('the end');
  }
  expect(exit.mock.calls).toEqual([[0], [1]]);
  const full = Object.assign(new Error('of Node'), { code: 'ENOSPC', errno: -28 });
  process.exitCode = undefined;
  process.stderr.listeners('error').at(-1)!(full);
  expect(() => listener(full)).toThrow('the end');
  expect(exit.mock.calls.slice(2)).toEqual([[1]]);
  expect(notes).toBe(
    'error ERR_FILE_WRITE: standard output cannot be written: no space left on device (ENOSPC)\n',
  );
  for (const stream of [process.stdout, process.stderr]) {
    stream.off('error', stream.listeners('error').at(-1) as () => void);
  }
});
