import { readCheckpoint } from '../../../lib/io/checkpoint';
import { RawTensor } from '../../../lib/io/raw_tensor';
import { mapHuggingFace, mapName } from '../../../lib/models/xclip/huggingface';
import { parameterShapes } from '../../../lib/models/xclip/parameters';
import { fixturePath, readFixture } from '../../support/fixture';
import { TINY } from '../../support/tiny_geometry';

type Row = [from: string, to: string, how: string];
const { mapping } = readFixture<{ mapping: Row[] }>('golden/tiny_hf_check.json');

test.each(mapping)('%s goes to %s (%s)', (from, to, how) => {
  const rows = /^rows (\d+)\.\./.exec(how);
  expect(mapName(from)).toEqual({ name: to, how: rows ? { part: Number(rows[1]) / 128 } : how });
});

test.each([
  '',
  'lm_head.weight',
  'text_model.encoder.layers.0.weird',
  'other.encoder.layers.0.layer_norm1.weight',
])('mapName does not know %j', (name) => expect(mapName(name)).toBeUndefined());

describe('mapHuggingFace', () => {
  const config = readFixture<Record<string, unknown>>('golden/tiny_hf/config.json');

  /** Official tensors in the other names and layouts, by the recorded mapping. */
  async function exported(official: ReadonlyMap<string, RawTensor>): Promise<Map<string, RawTensor>> {
    const tensors = new Map<string, RawTensor>();
    for (const [from, to, how] of mapping) {
      const { dtype, shape } = official.get(to)!;
      const values = await official.get(to)!.float32();
      const [, firstRow] = /^rows (\d+)\.\./.exec(how) ?? [];
      if (firstRow !== undefined) {
        const start = (Number(firstRow) / 128) * (values.length / 3);
        const third = values.slice(start, start + values.length / 3);
        tensors.set(from, new RawTensor(dtype, [shape[0]! / 3, ...shape.slice(1)], third));
      } else if (how === 'transpose') {
        const turned = transposed(values, shape[0]!, shape[1]!);
        tensors.set(from, new RawTensor(dtype, [...shape].reverse(), turned));
      } else {
        tensors.set(from, new RawTensor(dtype, shape, values));
      }
    }
    return tensors;
  }

  async function load(
    change: (tensors: Map<string, RawTensor>, config: Record<string, unknown>) => void = () => {},
  ) {
    await using official = await readCheckpoint(fixturePath('golden/tiny.pth'));
    const tensors = await exported(official.stateDict);
    const changedConfig = structuredClone(config);
    change(tensors, changedConfig);
    const values = new Map<string, [string, readonly number[], Uint8Array]>();
    for (const [name, tensor] of mapHuggingFace(tensors, changedConfig, 'tiny_hf')) {
      values.set(name, [tensor.dtype, tensor.shape, await tensor.data()]);
    }
    return values;
  }

  test('gives the official weights, bit by bit', async () => {
    const values = await load();
    await using official = await readCheckpoint(fixturePath('golden/tiny.pth'));
    expect([...values.keys()].sort()).toEqual([...official.stateDict.keys()].sort());
    for (const [name, tensor] of official.stateDict) {
      const [dtype, shape, bytes] = values.get(name)!;
      expect([name, dtype, shape]).toEqual([name, tensor.dtype, tensor.shape]);
      expect([name, Buffer.compare(bytes, await tensor.data())]).toEqual([name, 0]);
    }
  });

  test('turns projections that are not square', async () => {
    const official = new Map<string, RawTensor>();
    for (const [name, shape] of parameterShapes({ ...TINY, embedDim: 64 })) {
      const size = shape.reduce((product, extent) => product * extent, 1);
      official.set(
        name,
        new RawTensor(
          'float32',
          shape,
          Float32Array.from({ length: size }, (_, i) => i),
        ),
      );
    }
    const mapped = mapHuggingFace(await exported(official));
    for (const name of ['visual.proj', 'text_projection', 'mit.resblocks.0.attn.in_proj_weight']) {
      expect(mapped.get(name)!.shape).toEqual(official.get(name)!.shape);
      expect(await mapped.get(name)!.float32()).toEqual(await official.get(name)!.float32());
    }
  });

  test('works for 16-bit weights and leaves out position ids', async () => {
    const bytes = new Uint8Array(128 * 128 * 2).map((_, i) => i % 251);
    const values = await load((tensors) => {
      tensors.set('visual_projection.weight', new RawTensor('bfloat16', [128, 128], bytes));
      tensors.set(
        'text_model.embeddings.position_ids',
        new RawTensor('int64', [1, 77], new BigInt64Array(77)),
      );
    });
    const [dtype, , moved] = values.get('visual.proj')!;
    expect(dtype).toBe('bfloat16');
    const [from, to] = [new Uint16Array(bytes.buffer), new Uint16Array(moved.buffer)];
    for (let i = 0; i < 128; i++)
      for (let j = 0; j < 128; j++) expect(to[i * 128 + j]).toBe(from[j * 128 + i]);
  });

  test.each<[string, Parameters<typeof load>[0], string[]]>([
    [
      'an unknown tensor',
      (t) => t.set('x', new RawTensor('float32', [1], new Float32Array(1))),
      ['tensor x'],
    ],
    [
      'a missing key projection',
      (t) => t.delete('mit.encoder.layers.0.self_attn.k_proj.bias'),
      ['key', 'in_proj_bias'],
    ],
    [
      'a missing norm',
      (t) => t.delete('prompts_generator.layernorm.weight'),
      ['prompts_generator.norm.weight'],
    ],
    [
      'projections of different types',
      (t) =>
        t.set(
          'mit.encoder.layers.0.self_attn.k_proj.bias',
          new RawTensor('float16', [128], new Uint16Array(128)),
        ),
      ['in_proj_bias differ', 'float16'],
    ],
    [
      'other frames in config.json',
      (_, c) => Object.assign(c.vision_config as object, { num_frames: 8 }),
      ['num_frames 8'],
    ],
    [
      'another activation',
      (_, c) => Object.assign(c.text_config as object, { hidden_act: 'gelu' }),
      ['hidden_act "gelu"'],
    ],
    [
      'other heads',
      (_, c) => Object.assign(c.vision_config as object, { num_attention_heads: 4 }),
      ['heads 4'],
    ],
    ['another model', (_, c) => Object.assign(c, { model_type: 'clip' }), ['model_type "clip"']],
  ])('refuses %s', async (_, change, parts) => {
    await expect(load(change)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_MISMATCH',
      message: expect.stringMatching(new RegExp(['tiny_hf', ...parts].join('.*'))),
    });
  });

  test('does not mind the head counts that exports get wrong', async () => {
    await expect(load((_, c) => Object.assign(c, { prompt_num_attention_heads: 8 }))).resolves.toBeDefined();
  });
});

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
}
