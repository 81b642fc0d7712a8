import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/io/checkpoint';
import { RawTensor } from '../../lib/io/raw_tensor';
import { readSafetensors, writeSafetensors } from '../../lib/io/safetensors';
import { expectCode, fixture, temporaryFolder, withFile } from './helpers';

const path = join(temporaryFolder(), 'model.safetensors');

function file(header: unknown, data: number, claim?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claim ?? BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(data, 1)]);
}

describe('safetensors', () => {
  it('reads a reference file', async () => {
    await using checkpoint = await readCheckpoint(fixture('golden/tiny_clip_io.safetensors'));
    const shapes = [...checkpoint.stateDict].map(([name, { dtype, shape }]) => [name, dtype, shape]);
    expect(shapes.sort()).toEqual([
      ['image_features', 'float32', [2, 128]],
      ['input.images', 'float32', [2, 3, 32, 32]],
      ['input.tokens', 'int64', [5, 77]],
      ['logits_per_image', 'float32', [2, 5]],
      ['text_features', 'float32', [5, 128]],
    ]);
    const tokens = await checkpoint.stateDict.get('input.tokens')!.float32();
    expect([tokens[0], Math.max(...tokens)]).toEqual([598, 599]);
  });

  it('writes what it reads, every element aligned', async () => {
    const tensors = new Map([
      ['byte', new RawTensor('uint8', [2], Uint8Array.of(1, 2))],
      ['long', new RawTensor('int64', [], BigInt64Array.of(-7n))],
      ['é', new RawTensor('bfloat16', [2, 1], Uint16Array.of(0x3f80, 0x4000))],
      ['0', new RawTensor('float32', [0], new Float32Array(0))],
      ['__proto__', new RawTensor('bool', [1], Uint8Array.of(1))],
    ]);
    await writeSafetensors(path, tensors, new Map([['format', 'pt']]));
    await using checkpoint = await readCheckpoint(path);
    expect(checkpoint.format).toBe('safetensors');
    expect(checkpoint.metadata).toEqual(new Map([['format', 'pt']]));
    expect([...checkpoint.stateDict.keys()].sort()).toEqual([...tensors.keys()].sort());
    for (const [name, tensor] of tensors) {
      const read = checkpoint.stateDict.get(name)!;
      expect([read.dtype, read.shape, await read.data()]).toEqual([
        tensor.dtype,
        tensor.shape,
        await tensor.data(),
      ]);
    }
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
    expect([length % 8, header.long.data_offsets[0] % 8, header.é.data_offsets[0] % 2]).toEqual([0, 0, 0]);
  });

  it('refuses a tensor named like the metadata', async () => {
    const tensors = new Map([['__metadata__', new RawTensor('bool', [0], new Uint8Array(0))]]);
    await expectCode(writeSafetensors(path, tensors), 'ERR_ARGUMENT', /__metadata__/);
  });

  const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  it.each<[string, 'ERR_CHECKPOINT_FORMAT' | 'ERR_CHECKPOINT_UNSAFE', RegExp, Buffer]>([
    ['an absurd header', 'ERR_CHECKPOINT_UNSAFE', /header of \d+ bytes/, file({}, 0, 2n ** 63n)],
    [
      'a header beyond the file',
      'ERR_CHECKPOINT_UNSAFE',
      /header of 40 bytes in a file of 10/,
      file({}, 0, 40n),
    ],
    ['a header that is no JSON', 'ERR_CHECKPOINT_FORMAT', /no JSON: /, file('{"a', 0)],
    ['a header that is a list', 'ERR_CHECKPOINT_FORMAT', /no JSON object/, file('[]', 0)],
    ['an entry that is no object', 'ERR_CHECKPOINT_FORMAT', /"a" is no object/, file({ a: 1 }, 0)],
    [
      'an unknown dtype',
      'ERR_CHECKPOINT_FORMAT',
      /dtype "F8_E4M3"/,
      file({ a: { ...entry, dtype: 'F8_E4M3' } }, 8),
    ],
    [
      'a negative extent',
      'ERR_CHECKPOINT_FORMAT',
      /"a" is not described/,
      file({ a: { ...entry, shape: [-2] } }, 8),
    ],
    [
      'three offsets',
      'ERR_CHECKPOINT_FORMAT',
      /not described/,
      file({ a: { ...entry, data_offsets: [0, 8, 9] } }, 8),
    ],
    [
      'another size',
      'ERR_CHECKPOINT_FORMAT',
      /float32 \[3\], has 8 bytes/,
      file({ a: { ...entry, shape: [3] } }, 8),
    ],
    [
      'an absurd shape',
      'ERR_CHECKPOINT_FORMAT',
      /has 8 bytes/,
      file({ a: { ...entry, shape: [2 ** 50, 2 ** 50] } }, 8),
    ],
    ['missing elements', 'ERR_CHECKPOINT_FORMAT', /outside the file/, file({ a: entry }, 7)],
    ['spare bytes', 'ERR_CHECKPOINT_FORMAT', /has \d+ bytes where/, file({ a: entry }, 9)],
    [
      'a hole',
      'ERR_CHECKPOINT_FORMAT',
      /bytes 0 to 8 belong/,
      file({ a: { ...entry, data_offsets: [8, 16] } }, 16),
    ],
    ['an overlap', 'ERR_CHECKPOINT_FORMAT', /to two/, file({ a: entry, b: entry }, 8)],
  ])('refuses %s', async (_, code, message, bytes) => {
    await expectCode(withFile(path, bytes, readSafetensors), code, message);
  });
});
