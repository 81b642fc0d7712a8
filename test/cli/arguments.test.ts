import { resolve } from 'node:path';
import {
  integerFrom,
  normalizeArguments,
  pictureSize,
  requireOther,
  secondsAbove0,
} from '../../lib/cli/arguments';

test('official spellings become the one that the parser knows', () => {
  const words = [
    'train',
    '-cfg',
    'a_b.yaml',
    '--only_test',
    '--batch_size=4',
    '--opts',
    'TRAIN.LR',
    '-1e-3',
    'x_y',
  ];
  expect(normalizeArguments(words)).toEqual([
    'train',
    '--cfg',
    'a_b.yaml',
    '--only-test',
    '--batch-size=4',
    '--opts',
    'TRAIN.LR',
    '-1e-3',
    'x_y',
  ]);
  expect(normalizeArguments(['--config=a_b.yaml', '-cfg=c'])).toEqual(['--cfg=a_b.yaml', '--cfg=c']);
  expect(normalizeArguments(['classify', '--', '--only_test'])).toEqual(['classify', '--', '--only_test']);
});

test('whole numbers are taken, everything else is refused', () => {
  expect(integerFrom(0)('0')).toBe(0);
  for (const word of ['', '-1', '1.5', '1e3', 'two', '99999999999999999999']) {
    expect(() => integerFrom(0)(word)).toThrow('expected a whole number');
  }
  expect(() => integerFrom(1)('0')).toThrow('at least 1');
});

test('seconds and sizes of pictures are above 0', () => {
  expect(['2', '0.5', '.25'].map(secondsAbove0)).toEqual([2, 0.5, 0.25]);
  for (const word of ['0', '0.0', '-1', '1e3', '1.', 'two', '9'.repeat(400)]) {
    expect(() => secondsAbove0(word)).toThrow('expected a number of seconds above 0');
  }
  expect(pictureSize('340x256@29.97')).toEqual({ width: 340, height: 256, fps: 29.97 });
  for (const word of ['0x256@16', '340x0@16', '340x256@0', '340x256', '340x256@16fps', '340*256@16']) {
    expect(() => pictureSize(word)).toThrow('expected WIDTHxHEIGHT@RATE');
  }
});

test('what is read is not written over, however it is called', () => {
  for (const output of ['lists/a.txt', './lists/a.txt', 'lists/../lists//a.txt', resolve('lists/a.txt')]) {
    expect(() => requireOther('lists/a.txt', output)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringContaining(output) }),
    );
  }
  requireOther('lists/a.txt', 'lists/b.txt');
});
