import { memory } from '../../lib/native/device';
import { Embedding } from '../../lib/nn/embedding';
import { Initializer } from '../../lib/nn/init';
import { LayerNorm } from '../../lib/nn/layer_norm';
import { Linear } from '../../lib/nn/linear';
import { Module } from '../../lib/nn/module';
import { Transformer } from '../../lib/nn/transformer';
import { full } from '../../lib/ops';
import { scope } from '../../lib/tensor/scope';
import { type Tensor, tensor } from '../../lib/tensor/tensor';

class Toy extends Module {
  readonly heads: Linear[];
  readonly norm: LayerNorm;
  readonly scale: Tensor;
  readonly label = 'not a parameter';
  readonly extra = { cache: tensor([1]) };

  constructor(init: Initializer) {
    super();
    this.heads = [new Linear(3, 2, init), new Linear(2, 2, init, { bias: false })];
    this.norm = new LayerNorm(2, init);
    this.scale = init.vector([], (shape) => tensor(new Float32Array([2]), shape));
  }
}

const made: Module[] = [];
function toy(seed = 1): Toy {
  const module = new Toy(new Initializer({ seed, device: 'auto' }));
  made.push(module);
  return module;
}
afterEach(() => {
  for (const module of made.splice(0)) module.dispose();
});

function state(entries: Record<string, number[] | { shape: number[]; values: number[] }>) {
  return new Map(
    Object.entries(entries).map(([name, value]) => {
      const { shape, values } = Array.isArray(value) ? { shape: [value.length], values: value } : value;
      return [name, { shape, float32: async () => Float32Array.from(values) }] as const;
    }),
  );
}

const complete = {
  scale: { shape: [], values: [7] },
  'heads.0.weight': { shape: [2, 3], values: [1, 2, 3, 4, 5, 6] },
  'heads.0.bias': [8, 9],
  'heads.1.weight': { shape: [2, 2], values: [1, 2, 3, 4] },
  'norm.weight': [1, 2],
  'norm.bias': [3, 4],
};

test('names are paths; a module names its own parameters before those of its parts', () => {
  const names = Array.from(toy().namedParameters(), ([name]) => name);
  expect(names).toEqual(Object.keys(complete));
  expect(toy().parameters()).toHaveLength(6);
});

test('names of a transformer are those of torch', () => {
  const module = new Transformer(64, 1, 1, new Initializer({ device: 'auto' }));
  made.push(module);
  expect([...module.stateDict().keys()]).toEqual(
    [
      'attn.in_proj_weight',
      'attn.in_proj_bias',
      'attn.out_proj.weight',
      'attn.out_proj.bias',
      'ln_1.weight',
      'ln_1.bias',
      'mlp.c_fc.weight',
      'mlp.c_fc.bias',
      'mlp.c_proj.weight',
      'mlp.c_proj.bias',
      'ln_2.weight',
      'ln_2.bias',
    ].map((name) => `resblocks.0.${name}`),
  );
});

test('a module that is a part of itself is refused', () => {
  class Child extends Module {
    constructor(readonly parent: Module) {
      super();
    }
  }
  class Parent extends Module {
    readonly children = [new Child(this)];
  }
  expect(() => new Parent().parameters()).toThrow(
    expect.objectContaining({
      code: 'ERR_ARGUMENT',
      message: expect.stringMatching(/^children\.0\.parent /),
    }),
  );
});

test('loads values in place and counts it as a change', async () => {
  const module = toy();
  const weight = module.heads[0]!.weight;
  const before = weight.version;
  const { liveTensors } = memory();
  expect(await module.loadStateDict(state(complete))).toEqual({ missing: [], unexpected: [] });
  expect(await weight.toArray()).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expect(await module.scale.item()).toBe(7);
  expect(weight.version).toBe(before + 1);
  expect(module.heads[0]!.weight).toBe(weight);
  expect(memory().liveTensors).toBe(liveTensors);
});

test('says everything that does not fit, and changes nothing then', async () => {
  const module = toy();
  const { scale: _, ...rest } = complete;
  const bad = state({ ...rest, 'norm.bias': [1, 2, 3], 'norm.mean': [0], 'heads.0.bias': [0, 0] });
  const before = await module.heads[0]!.bias!.toArray();
  const attempt = module.loadStateDict(bad, { source: 'x.pth' });
  await expect(attempt).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message:
      'x.pth does not fit the model: wrong shape: norm.bias is [3], not [2]; missing: scale; unexpected: norm.mean',
  });
  expect(await module.heads[0]!.bias!.toArray()).toEqual(before);
  const others = state(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`other.${i}`, [0]])));
  await expect(module.loadStateDict(new Map([...state(complete), ...others]))).rejects.toThrow(
    /unexpected: other\.0, .*other\.7, and 2 more$/,
  );
});

test('without strict, loads what there is and says what was left', async () => {
  const result = await toy().loadStateDict(state({ 'norm.bias': [1, 2], other: [1] }), { strict: false });
  expect(result.missing).toHaveLength(5);
  expect(result.unexpected).toEqual(['other']);
  const misshaped = toy().loadStateDict(state({ 'norm.bias': [1] }), { strict: false });
  await expect(misshaped).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_MISMATCH' });
});

test('loading stops when the caller aborts', async () => {
  const signal = AbortSignal.abort();
  await expect(toy().loadStateDict(state(complete), { signal })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  const controller = new AbortController();
  let read = 0;
  const stopping = [...state(complete)].map(([name, { shape, float32 }]) => {
    const second = () => {
      if (++read === 2) controller.abort();
      return float32();
    };
    return [name, { shape, float32: second }] as const;
  });
  await expect(toy().loadStateDict(new Map(stopping), { signal: controller.signal })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  expect(read).toBe(2);
});

test('freezes what is selected, which keeps no gradient', () => {
  const module = toy();
  const gradients = module.parameters().map((parameter) => {
    parameter.grad = full(parameter.shape, 1, { device: parameter.device });
    return parameter.grad;
  });
  module.freeze((name) => name.startsWith('heads.'));
  for (const [i, { grad, requiresGrad }] of module.parameters().entries()) {
    expect([grad, gradients[i]!.disposed]).toEqual(requiresGrad ? [gradients[i], false] : [null, true]);
  }
  const trainable = [...module.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name);
  expect(trainable).toEqual(['scale', 'norm.weight', 'norm.bias']);
});

test('parameters outlive the scope they are made in, until they are disposed', () => {
  const before = memory().liveTensors;
  const module = scope(() => ({ embedding: new Embedding(5, 4, new Initializer({ device: 'auto' })) }));
  expect(memory().liveTensors).toBe(before + 1);
  module.embedding.dispose();
  module.embedding.dispose();
  expect(memory().liveTensors).toBe(before);
  const layer = new Linear(3, 2, new Initializer({ device: 'auto' })); // outside of any
  expect(memory().liveTensors).toBe(before + 2);
  layer.dispose();
});

test('a seed decides all values, and every parameter has its own', async () => {
  const values = async (module: Toy) => (await module.heads[0]!.weight.data()).toString();
  expect(await values(toy(5))).toBe(await values(toy(5)));
  expect(await values(toy(5))).not.toBe(await values(toy(6)));
  const same = new Initializer({ device: 'auto' });
  const [a, b] = [new Linear(3, 2, same), new Linear(3, 2, same)];
  made.push(a, b);
  expect((await a.weight.data()).toString()).not.toBe((await b.weight.data()).toString());
});
