import { integerFrom, normalizeArguments } from '../../lib/cli/arguments';

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
