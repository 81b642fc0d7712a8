import { callGlobal } from '../../lib/io/pickle_globals';
import { PickleReader } from '../../lib/io/pickle_reader';
import { PyFloat, Tuple } from '../../lib/io/pickle_value';
import { writePickle } from '../../lib/io/pickle_writer';

const noTensor = (): string => {
  throw new Error('there is no tensor');
};

function roundTrip(value: unknown): unknown {
  const call = (name: string, args: readonly unknown[], charge: (n: number) => void): unknown =>
    callGlobal('x', name, args, charge);
  return new PickleReader(writePickle(value, noTensor), { path: 'x', persistent: (id) => id, call }).read();
}

describe('writePickle', () => {
  it('writes what the reader reads back', () => {
    const integers = [
      0,
      255,
      256,
      -1,
      2 ** 31 - 1,
      2 ** 31,
      -(2 ** 31),
      -(2 ** 31) - 1,
      2 ** 53 - 1,
      2n ** 70n,
      -(2n ** 70n),
    ];
    const value = {
      integers,
      floats: [0.1, -1e300, Infinity, -0, 2 ** 53],
      'é 🎬': ['', null, true, false],
      empty: [[], {}, new Tuple([])],
      betas: new Tuple([0.9, 0.98]),
      state: new Map<unknown, unknown>([[0, { step: 1 }]]),
    };
    expect(roundTrip(value)).toEqual(
      new Map<string, unknown>([
        ['integers', integers],
        ['floats', value.floats],
        ['é 🎬', value['é 🎬']],
        ['empty', [[], new Map(), new Tuple([])]],
        ['betas', value.betas],
        ['state', new Map([[0, new Map([['step', 1]])]])],
      ]),
    );
  });

  it('tells ints from floats', () => {
    const bytes = (value: unknown): string => writePickle(value, noTensor).toString('hex');
    expect(bytes(1)).toBe('80024b012e');
    expect(bytes(new PyFloat(1))).toBe('8002473ff00000000000002e');
    expect(bytes(-0)).toBe('80024780000000000000002e');
    expect(bytes(2 ** 60)).toBe('80024743b00000000000002e');
  });

  it('names the place of what it cannot write', () => {
    const refuse = (value: unknown, message: RegExp): void => {
      const expected = { code: 'ERR_ARGUMENT', message: expect.stringMatching(message) };
      expect(() => writePickle(value, noTensor)).toThrow(expect.objectContaining(expected));
    };
    refuse({ a: [1, undefined] }, /value at \["a"\]\[1\], which is a undefined/);
    refuse(() => 1, /value at its top, which is a function/);
    refuse({ when: new Date(0) }, /\["when"\], which is a Date/);
    refuse(new Map([[1.5, 1]]), /\[1.5\], which has a key/);
    refuse({ set: new Set() }, /\["set"\], which is a Set/);
    refuse([2n ** 4000n], /\[0\], which is an integer of more than 255 bytes/);
    const loop: unknown[] = [];
    loop.push(loop);
    refuse({ loop }, /\["loop"\]\[0\], which contains itself/);
    let deep: unknown = [];
    for (let i = 0; i < 10000; i++) deep = [deep];
    refuse(deep, /nested more than 100 deep/);
  });
});
