import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/io/checkpoint';
import { PyFloat, type PyObject, Tuple, toPlain } from '../../lib/io/pickle_value';
import { RawTensor } from '../../lib/io/raw_tensor';
import { writeTorch } from '../../lib/io/torch_zip_writer';
import { expectCode, fixture, temporaryFolder } from './helpers';

const folder = temporaryFolder();
const path = join(folder, 'checkpoint.pth');
const expected = JSON.parse(readFileSync(fixture('checkpoints/expected.json'), 'utf8'));

/** Tensors as expected.json has them; values through float32, which holds all of them but float64's. */
async function describeTensors(tensors: Iterable<[string, RawTensor]>): Promise<unknown> {
  const described: [string, unknown][] = [];
  for (const [name, tensor] of tensors) {
    const values = [...(await tensor.float32())];
    described.push([name, { dtype: tensor.dtype, shape: tensor.shape, values }]);
  }
  return Object.fromEntries(described);
}

function expectedTensors(topic: string): unknown {
  const numbers = (values: string[]): number[] =>
    values.map((value) => Number(value.replace('inf', 'Infinity')));
  const entries = Object.entries<{ values: string[] }>(expected[topic]);
  return Object.fromEntries(
    entries.map(([name, tensor]) => [name, { ...tensor, values: numbers(tensor.values) }]),
  );
}

describe('torch zip files', () => {
  it('give the official checkpoint: weights, optimizer, configuration', async () => {
    const facts = JSON.parse(readFileSync(fixture('golden/tiny_checkpoint.json'), 'utf8'));
    await using checkpoint = await readCheckpoint(fixture('golden/tiny.pth'));
    expect(checkpoint.format).toBe('torch');
    const shapes = [...checkpoint.stateDict].map(([name, tensor]) => [name, tensor.shape]);
    expect(Object.fromEntries(shapes)).toEqual(facts.keys);
    expect([...checkpoint.stateDict.values()].every((tensor) => tensor.dtype === 'float32')).toBe(true);
    const value = checkpoint.value as Map<string, unknown>;
    expect([...value.keys()]).toEqual([
      'model',
      'optimizer',
      'lr_scheduler',
      'max_accuracy',
      'epoch',
      'config',
    ]);
    expect([value.get('max_accuracy'), value.get('epoch')]).toEqual([61.25, 1]);
    const optimizer = value.get('optimizer') as Map<string, unknown>;
    const state = optimizer.get('state') as Map<number, Map<string, RawTensor>>;
    expect([...state.keys()].map((key) => facts.optimizer_param_order[key])).toEqual(
      facts.optimizer_state_present_for,
    );
    expect(await state.get(14)!.get('step')!.item()).toBe(3);
    const groups = optimizer.get('param_groups') as Map<string, unknown>[];
    expect(groups.map((group) => group.get('betas'))).toEqual(Array(8).fill(new Tuple([0.9, 0.98])));
    const config = value.get('config') as PyObject;
    expect([config.className, (config.state as Map<string, unknown>).size]).toEqual([
      'yacs.config.CfgNode',
      4,
    ]);
    expect(checkpoint.config).toMatchObject({
      MODEL: { ARCH: 'toy', PRETRAINED: null },
      TRAIN: { EPOCHS: 3 },
    });
  });

  it('give half weights, which are the float weights rounded', async () => {
    await using exact = await readCheckpoint(fixture('golden/tiny.pth'));
    await using half = await readCheckpoint(fixture('golden/tiny_fp16.pth'));
    expect([...half.stateDict.keys()]).toEqual([...exact.stateDict.keys()]);
    for (const [name, tensor] of half.stateDict) {
      expect(tensor.dtype).toBe('float16');
      const values = await tensor.float32();
      const reference = await exact.stateDict.get(name)!.float32();
      // Half an ulp: 2^-11 of the value, at least half of the smallest subnormal.
      const wrong = values.findIndex(
        (v, i) => Math.abs(v - reference[i]!) > Math.max(2 ** -25, Math.abs(reference[i]!) * 2 ** -11),
      );
      expect(wrong).toBe(-1);
    }
  });

  it('give the weights of a TorchScript archive', async () => {
    const facts = JSON.parse(readFileSync(fixture('golden/tiny_clip_jit.json'), 'utf8'));
    await using checkpoint = await readCheckpoint(fixture('golden/tiny_clip_jit.pt'));
    expect(checkpoint.format).toBe('torchscript');
    const keys = [...checkpoint.stateDict].map(([name, { dtype, shape }]) => [name, [dtype, shape]]);
    expect(keys).toEqual(Object.entries(facts.keys));
    for (const [name, value] of Object.entries(facts.values)) {
      expect(await checkpoint.stateDict.get(name)!.item()).toBe(value);
    }
    await using model = await readCheckpoint(fixture('golden/tiny.pth'));
    const bias = (at: typeof model) => at.stateDict.get('visual.ln_pre.bias')!.float32();
    expect(await bias(checkpoint)).toEqual(await bias(model));
  });

  it('give contiguous copies of tensors that share, stride and repeat storages, in every dtype', async () => {
    await using checkpoint = await readCheckpoint(fixture('checkpoints/views.pth'));
    expect(await describeTensors(checkpoint.stateDict)).toEqual(expectedTensors('views'));
  });

  it.each([1, 2, 3, 4, 5])('are read with pickle protocol %d', async (protocol) => {
    await using checkpoint = await readCheckpoint(fixture(`checkpoints/protocol_${protocol}.pth`));
    expect(await describeTensors(checkpoint.stateDict)).toEqual(expectedTensors('weight'));
    const { state_dict, set, ...extras } = toPlain(checkpoint.value) as Record<string, unknown>;
    expect(state_dict).toBeDefined();
    expect((set as string[]).sort()).toEqual(['a', 'b']);
    expect(extras).toEqual({
      integers: [0, 255, 65535, -1, 2 ** 31, -(2 ** 40), 2n ** 70n, -(2n ** 70n)],
      floats: [1, 0.1, -1e300, Infinity],
      numpy: [81.5, 0.25, -3, true],
      bytes: Uint8Array.of(0, 255),
      tuple: [1, [2.5, null], true],
      text: 'é 動画 🎬',
      nested: { 0: { key: [[]] } },
    });
  });

  it('are read without checksums when torch was told to leave them out', async () => {
    await using checkpoint = await readCheckpoint(fixture('checkpoints/no_checksums.pth'));
    expect(await describeTensors(checkpoint.stateDict)).toEqual(expectedTensors('weight'));
  });
});

describe('writeTorch', () => {
  const shared = new RawTensor(
    'bfloat16',
    [2, 3],
    Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0xff80),
  );
  const model = new Map([
    ['a.weight', shared],
    ['a.alias', shared],
    ['scalar', new RawTensor('float64', [], Float64Array.of(0.1))],
    ['empty', new RawTensor('int64', [0, 4], new BigInt64Array(0))],
    ['mask', new RawTensor('bool', [2], Uint8Array.of(1, 0))],
    ['lazy', new RawTensor('float32', [2], async () => new Uint8Array(Float32Array.of(1, -2).buffer))],
  ]);
  const value = {
    model,
    optimizer: {
      state: new Map([[3, { step: 5, exp_avg: model.get('lazy')!, exp_avg_sq: model.get('lazy')! }]]),
      param_groups: [{ lr: 8e-6, betas: new Tuple([0.9, 0.98]), eps: 1e-8, params: [0, 1, 2, 3] }],
    },
    lr_scheduler: {},
    max_accuracy: new PyFloat(81),
    epoch: 3,
    config: { MODEL: { ARCH: 'ViT-B/32', PRETRAINED: null, FIX_TEXT: true } },
  };

  it('writes what is read back, tensors that are the same once', async () => {
    await writeTorch(path, value);
    await using checkpoint = await readCheckpoint(path);
    expect(await describeTensors(checkpoint.stateDict)).toEqual(await describeTensors(model));
    expect(checkpoint.config).toEqual(value.config);
    const plain = toPlain(checkpoint.value) as Record<string, unknown>;
    expect([plain.max_accuracy, plain.epoch, plain.lr_scheduler]).toEqual([81, 3, {}]);
    const optimizer = (checkpoint.value as Map<string, Map<string, unknown>>).get('optimizer')!;
    expect((optimizer.get('state') as Map<number, Map<string, unknown>>).get(3)!.get('step')).toBe(5);
    // 5 tensors of 6 and 3 other records, each named twice.
    expect(readFileSync(path, 'latin1').split('archive/').length - 1).toBe(2 * (5 + 3));
  });

  it('writes equal files for equal values', async () => {
    await writeTorch(path, value);
    const first = readFileSync(path);
    await writeTorch(path, value);
    expect(readFileSync(path).equals(first)).toBe(true);
  });

  it('copies a training checkpoint bit for bit', async () => {
    await using original = await readCheckpoint(fixture('golden/tiny.pth'));
    const { optimizer } = Object.fromEntries(original.value as Map<string, unknown>);
    await writeTorch(path, { model: original.stateDict, optimizer, config: original.config });
    await using copy = await readCheckpoint(path);
    for (const [name, tensor] of original.stateDict) {
      expect(Buffer.compare(await tensor.data(), await copy.stateDict.get(name)!.data())).toBe(0);
    }
    expect(copy.config).toEqual(original.config);
  });

  it('reports progress, and leaves nothing behind when aborted or when a tensor fails', async () => {
    const progress: number[][] = [];
    await writeTorch(path, value, { onProgress: (...numbers) => progress.push(numbers) });
    const before = readFileSync(path);
    const size = before.length;
    expect(progress.at(-1)).toEqual([size, size]);
    expect(
      progress.every(([written, total], i) => written! <= total! && written! >= (progress[i - 1]?.[0] ?? 0)),
    ).toBe(true);
    await expectCode(writeTorch(path, value, { signal: AbortSignal.abort() }), 'ERR_ABORTED', /aborted/);
    const short = new RawTensor('float32', [2], async () => new Uint8Array(4));
    await expectCode(writeTorch(path, { short }), 'ERR_SHAPE', /needs 8 bytes, not 4/);
    await expectCode(writeTorch(path, { bad: undefined }), 'ERR_ARGUMENT', /\["bad"\]/);
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(folder)).toEqual(['checkpoint.pth']);
  });

  // Skipped unless TORCH_PYTHON names a Python with torch.
  const python = process.env.TORCH_PYTHON;
  (python ? it : it.skip)('is accepted by torch.load(weights_only=True)', async () => {
    await writeTorch(path, value);
    const loaded = JSON.parse(
      execFileSync(python!, [fixture('scripts/check_torch_checkpoint.py'), path], { encoding: 'utf8' }),
    );
    const lazy = { dtype: 'float32', shape: [2], values: ['1.0', '-2.0'] };
    const weight = { dtype: 'bfloat16', shape: [2, 3], values: ['1.0', '2.0', '3.0', '4.0', '5.0', '-inf'] };
    const state = {
      dict: [
        [
          3,
          {
            dict: [
              ['step', 5],
              ['exp_avg', lazy],
              ['exp_avg_sq', lazy],
            ],
          },
        ],
      ],
    };
    const betas = { tuple: [{ float: '0.9' }, { float: '0.98' }] };
    const group = {
      dict: [
        ['lr', { float: '8e-06' }],
        ['betas', betas],
        ['eps', { float: '1e-08' }],
        ['params', [0, 1, 2, 3]],
      ],
    };
    const architecture = {
      dict: [
        ['ARCH', 'ViT-B/32'],
        ['PRETRAINED', null],
        ['FIX_TEXT', true],
      ],
    };
    expect(loaded.dict).toEqual([
      [
        'model',
        {
          dict: [
            ['a.weight', weight],
            ['a.alias', weight],
            ['scalar', { dtype: 'float64', shape: [], values: ['0.1'] }],
            ['empty', { dtype: 'int64', shape: [0, 4], values: [] }],
            ['mask', { dtype: 'bool', shape: [2], values: ['1.0', '0.0'] }],
            ['lazy', lazy],
          ],
        },
      ],
      [
        'optimizer',
        {
          dict: [
            ['state', state],
            ['param_groups', [group]],
          ],
        },
      ],
      ['lr_scheduler', { dict: [] }],
      ['max_accuracy', { float: '81.0' }],
      ['epoch', 3],
      ['config', { dict: [['MODEL', architecture]] }],
    ]);
  });
});
