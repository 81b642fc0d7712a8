import { abortError, throwIfAborted, withReason } from '../../lib/base/abort';
import { CodedError } from '../../lib/base/error';

test('who stopped the work, and why, is the cause of its error', () => {
  const controller = new AbortController();
  const { signal } = controller;
  throwIfAborted(undefined);
  throwIfAborted(signal);
  const reason = new Error('the client has gone');
  controller.abort(reason);
  expect(() => throwIfAborted(signal, 'not now')).toThrow(
    expect.objectContaining({ code: 'ERR_ABORTED', message: 'not now', cause: reason }),
  );
  expect(abortError(signal, 'not now')).toMatchObject({ code: 'ERR_ABORTED', cause: reason });
});

test('of other errors, and those whose cause is known, nothing is changed', () => {
  const signal = AbortSignal.abort('late');
  const named = (code: 'ERR_ABORTED' | 'ERR_SYSTEM', cause?: unknown) => new CodedError(code, 'x', { cause });
  expect(withReason(named('ERR_ABORTED'), signal).cause).toBe('late');
  expect(Object.keys(withReason(named('ERR_ABORTED'), signal))).toEqual(Object.keys(named('ERR_ABORTED')));
  expect(withReason(named('ERR_ABORTED', 'first'), signal).cause).toBe('first');
  expect(withReason(named('ERR_SYSTEM'), signal).cause).toBeUndefined();
  expect(withReason(named('ERR_ABORTED'), new AbortController().signal).cause).toBeUndefined();
  expect(withReason('a text', signal)).toBe('a text');
});
