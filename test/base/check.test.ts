import { kindOf } from '../../lib/base/check';

test('a value is named in a few words, whatever it is', () => {
  const kinds = [[1], 'a"b', 'x'.repeat(1000), new Map(), Object.create(null), () => 1, null, 7n].map(kindOf);
  expect(kinds).toEqual([
    ...['an array', '"a\\"b"', `"${'x'.repeat(40)}"`, 'an object (Map)', 'an object (no class)'],
    ...['a function', 'null', '7'],
  ]);
});
