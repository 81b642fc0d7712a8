import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PyValue, RawTensor, readCheckpoint, writeTorch } from '../../lib/io';
import { native } from '../../lib/native/load';
import { AdamW } from '../../lib/optim/adamw';
import { Tensor, tensor } from '../../lib/tensor/tensor';
import { expectClose } from '../support/check_op';
import { randomDense, sizeOf } from '../support/dense';

const betas = [0.9, 0.98] as const;
const eps = 1e-8;
const sizes = [[5, 7], [20_001], [3], []];
const rates = [
  { lr: 1e-2, weightDecay: 0.1 },
  { lr: 1e-3, weightDecay: 0 },
];

/** torch.optim.AdamW in float64. */
class Reference {
  m: Float64Array;
  v: Float64Array;
  step = 0;
  constructor(readonly p: Float64Array) {
    this.m = new Float64Array(p.length);
    this.v = new Float64Array(p.length);
  }
  update(g: Float64Array, { lr, weightDecay }: { lr: number; weightDecay: number }): void {
    this.step++;
    this.p.forEach((value, i) => {
      this.m[i] = betas[0] * this.m[i]! + (1 - betas[0]) * g[i]!;
      this.v[i] = betas[1] * this.v[i]! + (1 - betas[1]) * g[i]! ** 2;
      const denominator = Math.sqrt(this.v[i]! / (1 - betas[1] ** this.step)) + eps;
      this.p[i] =
        value * (1 - lr * weightDecay) - ((lr / (1 - betas[0] ** this.step)) * this.m[i]!) / denominator;
    });
  }
}

function setUp() {
  const values = sizes.map((shape, i) => noise.slice(500 + i, 500 + i + sizeOf(shape)).map((v) => 10 * v));
  const params = values.map((v, i) => tensor(Float32Array.from(v), sizes[i]!, { requiresGrad: true }));
  const named = params.map((p, i) => [`p${i}`, p] as const);
  const optimizer = new AdamW(
    rates.map((rate, g) => ({ ...rate, params: named.slice(2 * g, 2 * g + 2) })),
    { betas, eps },
  );
  return { values, params, optimizer };
}

// A window of one long random sequence per step and parameter.
const noise = randomDense([21_000], 99, 0.1).data;
const gradient = (shape: number[], step: number, i: number) => ({
  data: noise.subarray(10 * step + i, 10 * step + i + sizeOf(shape)),
});

function giveGradients(params: Tensor[], step: number, dtype: 'float32' | 'bfloat16' = 'float32'): void {
  params.forEach((p, i) => {
    const source = tensor(Float32Array.from(gradient(sizes[i]!, step, i).data), sizes[i]!);
    p.grad = dtype === 'float32' ? source : new Tensor(native().cast(source.handle, dtype));
  });
}

test.each(['float32', 'bfloat16'] as const)(
  'five steps equal the float64 reference, gradients in %s',
  async (dtype) => {
    const { values, params, optimizer } = setUp();
    const references = values.map((v) => new Reference(Float64Array.from(v)));
    for (let step = 0; step < 5; step++) {
      giveGradients(params, step, dtype);
      optimizer.step();
      optimizer.zeroGrad();
      references.forEach((r, i) => {
        r.update(gradient(sizes[i]!, step, i).data, rates[Math.floor(i / 2)]!);
      });
    }
    for (const [i, p] of params.entries()) {
      expect(p.version).toBe(5);
      expect(p.grad).toBeNull();
      // A float32 rounding of the parameter per step, and of the update.
      const { lr } = rates[Math.floor(i / 2)]!;
      expectClose(
        `p${i}`,
        (await p.data()) as Float32Array,
        references[i]!.p,
        5 * (4 * 2 ** -24 + lr * 2e-6),
      );
    }
  },
);

test('a parameter without a gradient stays, and counts its own steps', async () => {
  const { values, params, optimizer } = setUp();
  giveGradients(params, 0);
  params[2]!.grad = null;
  optimizer.step();
  expect(await params[2]!.data()).toEqual(Float32Array.from(values[2]!));
  optimizer.zeroGrad();
  giveGradients(params, 1);
  optimizer.step();
  const late = new Reference(Float64Array.from(values[2]!));
  late.update(gradient(sizes[2]!, 1, 2).data, rates[1]!);
  expectClose('late', (await params[2]!.data()) as Float32Array, late.p, 1e-6);
});

test('an update writes the 16-bit copies of its parameters along, in place', async () => {
  const { params, optimizer } = setUp();
  const dtypes = ['bfloat16', 'float16', 'bfloat16', 'float16'] as const;
  const on = params[0]!.device;
  // float16 is a dtype of the CUDA device only.
  const copies = params.map((p, i) => p.castCached(on === 'cuda' ? dtypes[i]! : 'bfloat16'));
  const read = () => Promise.all(copies.map(async (copy) => [...((await copy.data()) as Uint16Array)]));
  const before = await read();
  giveGradients(params, 0);
  optimizer.step({ when: tensor(new Int32Array([0]), []) });
  expect(await read()).toEqual(before);
  optimizer.step();
  const after = await read(); // without castCached, which might make them anew
  for (const [i, p] of params.entries()) {
    const rounded = new Tensor(native().cast(p.handle, copies[i]!.dtype));
    expect(after[i]).toEqual([...((await rounded.data()) as Uint16Array)]);
    expect(p.currentCopy).toBe(copies[i]);
    expect(p.castCached(copies[i]!.dtype)).toBe(copies[i]);
    rounded.dispose();
  }
  expect(after).not.toEqual(before);
  // One that is of older contents is no copy to write, and is made anew in its place.
  params[0]!.assign(tensor(new Float32Array(sizeOf(sizes[0]!)).fill(3), sizes[0]!));
  expect(params[0]!.currentCopy).toBeNull();
  optimizer.step();
  expect(params[0]!.currentCopy).toBeNull();
  expect(params[0]!.castCached(copies[0]!.dtype)).toBe(copies[0]);
  const rounded = new Tensor(native().cast(params[0]!.handle, copies[0]!.dtype));
  expect([...((await copies[0]!.data()) as Uint16Array)]).toEqual([
    ...((await rounded.data()) as Uint16Array),
  ]);
  rounded.dispose();
  for (const p of params) p.dispose();
  optimizer.dispose();
});

test('an update that is left out changes nothing, and is not counted', async () => {
  const { values, params, optimizer } = setUp();
  const when = (made: number) => tensor(new Int32Array([made]), []);
  giveGradients(params, 0);
  optimizer.step({ when: when(0) });
  for (const [i, p] of params.entries()) expect(await p.data()).toEqual(Float32Array.from(values[i]!));
  expect((await optimizer.stateDict()).get('state')).toEqual(new Map());
  optimizer.step({ when: when(1) });
  const plain = setUp();
  giveGradients(plain.params, 0);
  plain.optimizer.step();
  for (const [i, p] of params.entries()) expect(await p.data()).toEqual(await plain.params[i]!.data());
  const state = (await optimizer.stateDict()).get('state') as Map<number, Map<string, unknown>>;
  expect([...state.values()].map((own) => own.get('step'))).toEqual([1, 1, 1, 1]);
  expect(() => optimizer.step({ when: tensor([1, 2]) })).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE' }),
  );
});

test('the state survives a file: the next steps are bit-equal', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'adamw-'));
  try {
    const first = setUp();
    giveGradients(first.params, 0);
    first.optimizer.step();
    const path = join(folder, 'optimizer.pth');
    const model = new Map([['w', new RawTensor('float32', [1], new Float32Array(1))]]);
    await writeTorch(
      path,
      new Map<string, unknown>([
        ['model', model],
        ['optimizer', await first.optimizer.stateDict()],
      ]) as PyValue,
    );

    const second = setUp();
    second.params.forEach((p, i) => {
      p.assign(first.params[i]!);
    });
    const checkpoint = await readCheckpoint(path);
    await second.optimizer.loadStateDict((checkpoint.value as Map<string, unknown>).get('optimizer'), path);
    await checkpoint.close();
    for (const { params, optimizer } of [first, second]) {
      giveGradients(params, 1);
      optimizer.step();
    }
    const bytes = async (x: Tensor) => Buffer.from(((await x.data()) as Float32Array).slice().buffer);
    for (const [i, p] of second.params.entries()) {
      expect((await bytes(p)).equals(await bytes(first.params[i]!))).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('another model is refused before anything changes', async () => {
  const { params, optimizer } = setUp();
  giveGradients(params, 0);
  optimizer.step();
  const state = await optimizer.stateDict();
  const other = new AdamW([{ params: [['only', tensor([1], [1], { requiresGrad: true })]], lr: 1 }]);
  const mismatch = expect.objectContaining({ code: 'ERR_CHECKPOINT_MISMATCH' });
  await expect(other.loadStateDict(state)).rejects.toEqual(mismatch);
  await expect(other.loadStateDict(new Map())).rejects.toEqual(mismatch);
});

test('a state takes the place of the present one, and one that is damaged leaves that', async () => {
  const { params, optimizer } = setUp();
  giveGradients(params, 0);
  optimizer.step();
  const before = native().memory(params[0]!.device).liveTensors;
  await optimizer.loadStateDict(await optimizer.stateDict());
  expect(native().memory(params[0]!.device).liveTensors).toBe(before);
  expect(optimizer.groups.map(({ lr }) => lr)).toEqual(rates.map(({ lr }) => lr));
  const state = await optimizer.stateDict();
  const parts = state.get('state') as Map<number, Map<string, unknown>>;
  for (const step of [undefined, 1.5, Number.NaN, -1]) {
    parts.get(3)!.set('step', step);
    await expect(optimizer.loadStateDict(state)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_MISMATCH' });
  }
  parts.get(3)!.set('step', 1);
  const groups = state.get('param_groups') as Map<string, unknown>[];
  groups[1]!.delete('lr');
  await expect(optimizer.loadStateDict(state)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_MISMATCH' });
  expect(optimizer.groups.map(({ lr }) => lr)).toEqual(rates.map(({ lr }) => lr));
  expect(native().memory(params[0]!.device).liveTensors).toBe(before);
  for (const p of params) p.dispose();
  optimizer.dispose();
});

test('decay rates and eps are those of the paper unless given', async () => {
  const groups = (options?: object) =>
    new AdamW([{ params: [['p', tensor([1])]], lr: 1 }], options).stateDict();
  const given = { betas: [0.9, 0.999], eps: 1e-8 };
  expect(await groups()).toEqual(await groups(given));
  expect(await groups({ betas: [0.8] })).toEqual(await groups({ ...given, betas: [0.8, 0.999] }));
});

test('rejects wrong rates, dtypes and repeated parameters', () => {
  const p = tensor([1], [1], { requiresGrad: true });
  const make = (options: object) => () => new AdamW([{ params: [['p', p]], lr: 1, ...options }]);
  expect(make({ lr: -1 })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  expect(make({ lr: Number.NaN })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  expect(
    make({
      params: [
        ['a', p],
        ['b', p],
      ],
    }),
  ).toThrow(/b is given twice/);
  const half = tensor([1], [1], { dtype: 'bfloat16' });
  expect(make({ params: [['half', half]] })).toThrow(expect.objectContaining({ code: 'ERR_DTYPE' }));
});
