import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemReason } from '../../lib/base/system_reason';

function refused(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

test('the words of the system, without the call and the path', () => {
  const folder = mkdtempSync(join(tmpdir(), 'reason-'));
  expect(systemReason(refused(() => readFileSync(folder)))).toBe('it is a folder (EISDIR)');
  rmdirSync(folder);
  expect(systemReason(refused(() => readFileSync(folder)))).toBe('no such file or directory (ENOENT)');
});

test('what is not of the system says it itself', () => {
  expect(systemReason(new Error('it is a device'))).toBe('it is a device');
  expect(systemReason(Object.assign(new Error('odd'), { errno: 12345 }))).toBe('odd');
});
