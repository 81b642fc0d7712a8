import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { JsonLines } from '../../lib/distributed/json_lines';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** A connection whose other side is played by the test. */
function connection() {
  const nothing = () => {};
  const calls = { write: jest.fn(), destroy: jest.fn(), end: jest.fn() };
  const socket = Object.assign(new EventEmitter(), calls, { setNoDelay: nothing, unref: nothing });
  const listener = { message: jest.fn(), end: jest.fn() };
  const lines = new JsonLines(socket as unknown as Socket, listener);
  return { socket, lines, listener, say: (text: string) => socket.emit('data', Buffer.from(text)) };
}

test('each side gives a sign of life every 5 s, and is given up after a minute without one', () => {
  const { socket, listener, say } = connection();
  for (let minute = 0; minute < 3; minute++) {
    jest.advanceTimersByTime(55_000);
    say('\n');
  }
  expect(socket.write.mock.calls).toEqual(Array(33).fill(['\n']));
  expect(listener.message).not.toHaveBeenCalled();
  expect(listener.end).not.toHaveBeenCalled();
  jest.advanceTimersByTime(70_000);
  expect(listener.end.mock.calls).toEqual([['nothing was heard from it for 60 s']]);
  expect(socket.destroy).toHaveBeenCalled();
});

test('a connection that is closed asks for nothing more', () => {
  const { socket, lines, listener, say } = connection();
  lines.close();
  lines.send({});
  say('{"a":1}\n');
  jest.advanceTimersByTime(100_000);
  expect(socket.end).toHaveBeenCalledTimes(1);
  expect(socket.write).not.toHaveBeenCalled();
  expect(listener.message).not.toHaveBeenCalled();
  expect(listener.end).not.toHaveBeenCalled();
});
