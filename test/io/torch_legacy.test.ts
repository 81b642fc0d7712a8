import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/io/checkpoint';
import type { PyObject } from '../../lib/io/pickle_value';
import { readTorchLegacy } from '../../lib/io/torch_legacy';
import { expectCode, fixture, pickle, temporaryFolder, withFile } from './helpers';

const path = join(temporaryFolder(), 'legacy.pth');
const HEAD: (string | number)[] = [
  ...[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'],
  ...[0x80, 2, 'M', 0xe9, 3, '.'],
  ...[0x80, 2, '}U', 13, 'little_endian', 0x88, 's.'],
];

/** A pickled persistent id of a storage of `size` floats, with a view or None. */
const storage = (size: number, view = 'N') =>
  `((S'storage'\nctorch\nFloatStorage\nS'7'\nS'cpu'\nI${size}\n${view}tQ`;
/** A pickled tensor over it. */
const tensor = (from: string, offset: number, size: number) =>
  `ctorch._utils\n_rebuild_tensor\n${from}I${offset}\n(I${size}\nt(I1\nttR`;
const keys = ["(lS'7'\na."];
const floats = (count: number, ...values: number[]): string => {
  const bytes = Buffer.alloc(8 + 4 * values.length);
  bytes.writeBigInt64LE(BigInt(count));
  for (const [i, value] of values.entries()) bytes.writeFloatLE(value, 8 + 4 * i);
  return bytes.toString('latin1');
};

describe('legacy torch files', () => {
  it('give the official checkpoint: weights, optimizer, configuration', async () => {
    await using checkpoint = await readCheckpoint(fixture('checkpoints/legacy.pth'));
    await using whole = await readCheckpoint(fixture('golden/tiny.pth'));
    expect([checkpoint.format, checkpoint.stateDict.size]).toEqual(['torch-legacy', 9]);
    for (const [name, weight] of checkpoint.stateDict) {
      const reference = whole.stateDict.get(name)!;
      expect([name, weight.dtype, weight.shape]).toEqual([name, reference.dtype, reference.shape]);
      expect(Buffer.compare(await weight.data(), await reference.data())).toBe(0);
    }
    expect(checkpoint.config).toEqual({
      MODEL: { ARCH: 'ViT-B/32', PRETRAINED: null },
      BASE: [''],
      BETAS: [0.9, 0.98],
    });
    const value = checkpoint.value as Map<string, unknown>;
    expect((value.get('config') as PyObject).state).toEqual(
      new Map<string, unknown>([
        ['__immutable__', true],
        ['__deprecated_keys__', new Set(['OLD'])],
      ]),
    );
    expect([value.get('epoch'), value.get('max_accuracy')]).toEqual([7, 61.25]);
  });

  it('give the same tensors as zip files, however they view their storages', async () => {
    await using legacy = await readCheckpoint(fixture('checkpoints/views_legacy.pth'));
    await using zip = await readCheckpoint(fixture('checkpoints/views.pth'));
    expect([...legacy.stateDict.keys()]).toEqual([...zip.stateDict.keys()]);
    for (const [name, view] of legacy.stateDict) {
      const reference = zip.stateDict.get(name)!;
      expect([name, view.dtype, view.shape]).toEqual([name, reference.dtype, reference.shape]);
      expect(await view.data()).toEqual(await reference.data());
    }
  });

  it('give tensors over views of storages, which torch wrote before 1.0', async () => {
    const view = tensor(storage(5, "(S'8'\nI1\nI3\nt"), 1, 2);
    const bytes = pickle(...HEAD, `${view}.`, ...keys, floats(5, 1, 2, 3, 4, 5));
    await withFile(path, bytes, async (file) => {
      const value = (await readTorchLegacy(file)) as { float32(): Promise<Float32Array> };
      expect([...(await value.float32())]).toEqual([3, 4]);
    });
  });

  it('are read when the pickle is longer than the first piece', async () => {
    const long = 'N'.repeat(5 << 20);
    const bytes = pickle(...HEAD, `(${tensor(storage(2), 0, 2)}(${long}ll.`, ...keys, floats(2, 6, 7));
    await withFile(path, bytes, async (file) => {
      const [first] = (await readTorchLegacy(file)) as { float32(): Promise<Float32Array> }[];
      expect([...(await first!.float32())]).toEqual([6, 7]);
    });
  });
});

describe('legacy torch files are refused with', () => {
  const good = tensor(storage(2), 0, 2);
  it.each<[string, 'ERR_CHECKPOINT_FORMAT' | 'ERR_CHECKPOINT_UNSAFE', RegExp, (string | number)[]]>([
    ['another pickle', 'ERR_CHECKPOINT_FORMAT', /not one that torch.save wrote/, [0x80, 2, 'N.']],
    ['no end', 'ERR_CHECKPOINT_FORMAT', /middle of a pickle/, [...HEAD, good]],
    [
      'missing elements',
      'ERR_CHECKPOINT_FORMAT',
      /outside the file/,
      [...HEAD, good, '.', ...keys, floats(2, 1)],
    ],
    [
      'another size',
      'ERR_CHECKPOINT_FORMAT',
      /3 elements where 2 /,
      [...HEAD, good, '.', ...keys, floats(3, 1, 2, 3)],
    ],
    [
      'an absurd size',
      'ERR_CHECKPOINT_FORMAT',
      /outside the file/,
      [...HEAD, tensor(storage(2 ** 50), 0, 1), '.', ...keys, floats(2 ** 50)],
    ],
    ['an unlisted storage', 'ERR_CHECKPOINT_FORMAT', /no storage "7"/, [...HEAD, good, '.', '(l.']],
    [
      'a storage listed twice',
      'ERR_CHECKPOINT_FORMAT',
      /names "7" wrongly/,
      [...HEAD, good, '.', "(S'7'\nS'7'\nl.", floats(2, 1, 2)],
    ],
    [
      'two sizes of a storage',
      'ERR_CHECKPOINT_FORMAT',
      /two ways/,
      [...HEAD, '(', good, tensor(storage(3), 0, 1), 'l.'],
    ],
    [
      'a view outside',
      'ERR_CHECKPOINT_UNSAFE',
      /view is not inside/,
      [...HEAD, storage(5, "(S'8'\nI3\nI3\nt"), '.'],
    ],
    [
      'a tensor outside',
      'ERR_CHECKPOINT_UNSAFE',
      /not inside its storage of 2 /,
      [...HEAD, tensor(storage(2), 1, 2), '.'],
    ],
    [
      'a negative offset',
      'ERR_CHECKPOINT_UNSAFE',
      /impossible extent/,
      [...HEAD, tensor(storage(2), -1, 2), '.'],
    ],
    ['a negative size', 'ERR_CHECKPOINT_FORMAT', /not described properly/, [...HEAD, storage(-2), '.']],
    ['big endian numbers', 'ERR_CHECKPOINT_FORMAT', /big endian/, [...HEAD.slice(0, -2), 0x89, 's.']],
    [
      'complex numbers',
      'ERR_CHECKPOINT_FORMAT',
      /ComplexFloatStorage are not supported/,
      [...HEAD, storage(2).replace('Float', 'ComplexFloat'), '.'],
    ],
  ])('%s', async (_, code, message, pieces) => {
    await expectCode(withFile(path, pickle(...pieces), readTorchLegacy), code, message);
  });

  it('repetition of a storage to an absurd size', async () => {
    const repeated = tensor(storage(2), 0, 2 ** 40).replace('(I1\nttR', '(I0\nttR');
    const bytes = pickle(...HEAD, repeated, '.', ...keys, floats(2, 1, 2));
    await expectCode(withFile(path, bytes, readTorchLegacy), 'ERR_CHECKPOINT_UNSAFE', /absurdly often/);
  });
});

it('a truncated file is told at once, wherever it ends', async () => {
  const bytes = readFileSync(fixture('checkpoints/views_legacy.pth'));
  for (let length = 20; length < bytes.length; length += 53) {
    await expectCode(
      withFile(path, bytes.subarray(0, length), readTorchLegacy),
      'ERR_CHECKPOINT_FORMAT',
      /truncated/,
    );
  }
});
