import { callGlobal } from '../../lib/io/pickle_globals';
import { EndOfPickle, PickleReader } from '../../lib/io/pickle_reader';
import { PyGlobal, PyObject, Tuple, toPlain } from '../../lib/io/pickle_value';
import { pickle } from './helpers';

function read(...pieces: (string | number)[]): unknown {
  const reader = new PickleReader(pickle(...pieces), {
    path: 'x.pth',
    persistent: (id) => ['persistent', id],
    call: (name, args, charge) => callGlobal('x.pth', name, args, charge),
  });
  return reader.read();
}

const format = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_CHECKPOINT_FORMAT', message: expect.stringMatching(message) });
const unsafe = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_CHECKPOINT_UNSAFE', message: expect.stringMatching(message) });

describe('PickleReader understands', () => {
  it('numbers of protocol 0', () => {
    expect(read('(I7\nI-3\nI01\nI00\nL12345678901234567890L\nL5L\nF0.5\nFinf\nF-inf\nNl.')).toEqual([
      7,
      -3,
      true,
      false,
      12345678901234567890n,
      5,
      0.5,
      Infinity,
      -Infinity,
      null,
    ]);
  });

  it('integers of every length', () => {
    const long = [0x8a, 0, 0x8a, 1, 0xff, 0x8a, 2, 0, 0x80, 0x8b, 3, 0, 0, 0, 0xff, 0xff, 0x7f];
    expect(read('(', ...long, 'J', 0, 0, 0, 0x80, 'M', 1, 2, 'K', 255, 'l.')).toEqual([
      0,
      -1,
      -32768,
      0x7fffff,
      -(2 ** 31),
      513,
      255,
    ]);
  });

  it('strings', () => {
    const unicode = [
      'V\\u00e9\\U0001f3ac\n',
      'X',
      2,
      0,
      0,
      0,
      0xc3,
      0xa9,
      0x8c,
      1,
      'z',
      0x8d,
      1,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      'w',
    ];
    expect(read('(S\'ab\'\nS"c"\n', 'U', 1, 'd', 'T', 1, 0, 0, 0, 'e', ...unicode, 'l.')).toEqual([
      'ab',
      'c',
      'd',
      'e',
      'é🎬',
      'é',
      'z',
      'w',
    ]);
  });

  it('containers and the memo', () => {
    expect(read('(dp0\nI1\n(I2\nI3\ntp1\nsI4\ng1\ns.')).toEqual(
      new Map([
        [1, new Tuple([2, 3])],
        [4, new Tuple([2, 3])],
      ]),
    );
    expect(read(0x80, 4, ']', 0x94, '(K', 1, 'h', 0, '0', 'K', 2, 'e.')).toEqual([1, 2]);
    expect(read(0x80, 4, 0x8f, '(K', 1, 'K', 2, 0x90, '.')).toEqual(new Set([1, 2]));
    expect(read('(I1\n(I2\n1(I3\nI4\nd0', '2l.')).toEqual([1, 1]);
  });

  it('globals that are only named, whatever they are', () => {
    expect(read('(cos\nsystem\nc__builtin__\neval\nl.')).toEqual([
      new PyGlobal('os.system'),
      new PyGlobal('builtins.eval'),
    ]);
  });

  it('objects of harmless classes, recording what the file gives them', () => {
    const node = new PyObject('yacs.config.CfgNode', []);
    node.items.set('A', 1);
    node.state = new Map([['frozen', true]]);
    const made = read(
      0x80,
      2,
      'cyacs.config\nCfgNode\n)',
      0x81,
      'U',
      1,
      'A',
      'K',
      1,
      's}U',
      6,
      'frozen',
      0x88,
      'sb.',
    );
    expect(made).toEqual(node);
    expect(toPlain(made)).toEqual({ A: 1 });
    const args = read('(iargparse\nNamespace\n(dU', 2, 'lr', 'F0.5\nsb.');
    expect(toPlain(args)).toEqual({ lr: 0.5 });
    expect(read('(c__torch__.a\nB\no.')).toEqual(new PyObject('__torch__.a.B', []));
    const old = read('ccopy_reg\n_reconstructor\n(cyacs.config\nCfgNode\nc__builtin__\ndict\n(dI1\nI2\nstR.');
    expect([...(old as PyObject).items]).toEqual([[1, 2]]);
  });

  it('persistent ids', () => {
    expect(read('(Pabc\nK', 1, 'Ql.')).toEqual([
      ['persistent', 'abc'],
      ['persistent', 1],
    ]);
  });
});

describe('PickleReader refuses to call', () => {
  it.each([
    ['os.system', "cos\nsystem\n(S'touch hacked'\ntR."],
    ['builtins.eval', "c__builtin__\neval\n(S'1'\ntR."],
    ['builtins.getattr', 'cbuiltins\ngetattr\n(NNtR.'],
    ['os.system', '(ios\nsystem\n.'],
    ['subprocess.Popen', '(csubprocess\nPopen\no.'],
    ['torch.load', 'ctorch\nload\n)\x81.'],
    ['torch.storage._load_from_bytes', 'ctorch.storage\n_load_from_bytes\n)R.'],
    ['constructor', 'cconstructor\n\n)R.'],
  ])('%s', (name, text) => {
    expect(() => read(text)).toThrow(unsafe(new RegExp(`x.pth: the pickle calls ${name}`)));
  });

  it('names that other names are put together from', () => {
    expect(() => read(0x80, 4, 0x8c, 2, 'os', 0x8c, 6, 'system', 0x93, ')', 'R.')).toThrow(
      unsafe(/calls os.system/),
    );
    expect(() => read('ccopy_reg\n_reconstructor\n(cos\nsystem\nNNtR.')).toThrow(unsafe(/calls os.system/));
  });
});

describe('PickleReader refuses', () => {
  it.each([
    ['an empty stack', '.', /stack is empty/],
    ['a missing mark', 't.', /no mark/],
    ['values under a mark', 'I1\n(R.', /stack is empty/],
    ['unknown opcodes', '\x00.', /opcode 0x0 /],
    ['extension codes', '\x82\x01.', /opcode 0x82 /],
    ['memo entries that are not there', 'h\x05.', /memo entry 5/],
    ['items on a list', ']I1\nI2\ns.', /no dict/],
    ['elements on a dict', '}I1\na.', /no list/],
    ['a key without a value', '}(I1\nu.', /key without a value/],
    ['calls of values', 'I1\n)R.', /no class or function/],
    ['arguments that are no tuple', 'cos\nsystem\nNR.', /no tuple/],
    ['state on a number', 'I1\nNb.', /no object/],
    ['named arguments', 'cyacs.config\nCfgNode\n)}I1\nI2\ns\x92.', /named arguments/],
    ['a later protocol', '\x80\x09.', /newer than 5/],
    ['long integers', `L${'9'.repeat(2000)}L\n.`, /absurdly long/],
    ['integers that are none', 'Iabc\n.', /malformed/],
    ['escaped literals', "S'\\x41'\n.", /has escapes/],
    ['globals not named by strings', 'NN\x93.', /not named by strings/],
  ])('%s', (_, text, message) => {
    expect(() => read(text)).toThrow(format(message));
  });

  it('numbers of numpy in another byte order', () => {
    const scalar = (order: string) => [
      `cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'${order}'\ntb`,
      ...['C', 8, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f],
      'tR.',
    ];
    expect(read(...scalar('<'))).toBe(1.5);
    expect(() => read(...scalar('>'))).toThrow(format(/scalar has arguments that do not fit/));
  });

  it('bytes that end too early, without believing a length', () => {
    for (const text of [
      '',
      'I1\n',
      'I1',
      'X\xff\xff\xff\xff',
      '\x8e\0\0\0\0\0\0\0\x80',
      'B\xff\xff\xff\x7f',
      'G123',
    ]) {
      expect(() => read(text)).toThrow(EndOfPickle);
    }
  });

  it.each([
    'ccopy_reg\n_reconstructor\n(cyacs.config\nCfgNode\nc__builtin__\ndict\ng0\ntR0',
    'ccollections\nOrderedDict\n(g0\ntR0',
  ])('copying one dict again and again: %j', (make) => {
    const items = Array.from({ length: 5000 }, (_, i) => `I${i}\nN`).join('');
    expect(() => read(`(${items}dp0\n${make.repeat(5000)}N.`)).toThrow(unsafe(/copies far more/));
  });

  it('copying one list again and again', () => {
    const text = `]p0\n(${'N'.repeat(10000)}e0${'cbuiltins\nlist\n(g0\ntR0'.repeat(1000)}N.`;
    expect(() => read(text)).toThrow(unsafe(/copies far more data than it holds/));
  });
});

describe('toPlain', () => {
  it('converts a value that shares its parts without multiplying them', () => {
    // 60 lists, each twice in the next: 2^60 leaves for who does not look.
    const value = read(
      `]p0\n0${Array.from({ length: 60 }, (_, i) => `]p${i + 1}\n(g${i}\ng${i}\ne0`).join('')}g60\n.`,
    );
    const plain = toPlain(value) as unknown[];
    expect(plain[0]).toBe(plain[1]);
  });

  it('refuses what contains itself or is absurdly deep', () => {
    expect(() => toPlain(read(']p0\ng0\na.'))).toThrow(unsafe(/nested/));
    expect(() => toPlain(read(`${']'.repeat(200000)}${'a'.repeat(199999)}.`))).toThrow(unsafe(/nested/));
  });

  it('keeps a hostile key an ordinary one', () => {
    const plain = toPlain(new Map([['__proto__', new Map([['polluted', 1]])]])) as Record<string, unknown>;
    expect(Object.keys(plain)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});
