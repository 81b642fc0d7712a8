import { kindOf, named } from '../../lib/base/check';
import { CodedError } from '../../lib/base/error';

test('a value is named in a few words, whatever it is', () => {
  const kinds = [[1], 'a"b', 'x'.repeat(1000), new Map(), Object.create(null), () => 1, null, 7n].map(kindOf);
  expect(kinds).toEqual([
    ...['an array', '"a\\"b"', `"${'x'.repeat(40)}"`, 'an object (Map)', 'an object (no class)'],
    ...['a function', 'null', '7'],
  ]);
});

test('what is refused is told under the name of the function, once', () => {
  const refuse = (message: string) => () =>
    named('scale', () => {
      throw new CodedError('ERR_SHAPE', message);
    });
  const told = expect.objectContaining({ code: 'ERR_SHAPE', message: 'scale: too large' });
  for (const message of ['too large', 'scale: too large']) expect(refuse(message)).toThrow(told);
});
