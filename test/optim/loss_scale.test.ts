import { PyFloat } from '../../lib/io';
import { memory } from '../../lib/native/device';
import { LossScaler } from '../../lib/optim';
import { type Tensor, tensor } from '../../lib/tensor/tensor';

/** A parameter with the given gradient. */
function parameter(gradient: number[]): Tensor {
  const leaf = tensor(new Float32Array(gradient.length), undefined, { requiresGrad: true });
  leaf.grad = tensor(gradient);
  return leaf;
}

/** Whether an update was to be made. */
async function unscale(scaler: LossScaler, leaves: Tensor[]): Promise<boolean> {
  const finite = scaler.unscale(leaves);
  const made = (await finite.item()) === 1;
  finite.dispose();
  return made;
}

test('finite gradients are divided by the scale', async () => {
  using scaler = new LossScaler({ scale: 1024 });
  const [a, b] = [parameter([1024, -2048]), parameter([3])];
  expect(await unscale(scaler, [a, b])).toBe(true);
  expect(await a.grad!.toArray()).toEqual([1, -2]);
  expect(await b.grad!.toArray()).toEqual([3 / 1024]);
  expect(await scaler.value()).toBe(1024);
  expect(await unscale(scaler, [])).toBe(true);
  for (const leaf of [a, b]) leaf.dispose();
});

test('an overflow halves the scale, in a gradient or in what is looked at beside', async () => {
  using scaler = new LossScaler({ scale: 1024 });
  const [bad, good] = [parameter([1, Number.POSITIVE_INFINITY]), parameter([1])];
  expect(await unscale(scaler, [bad])).toBe(false);
  expect(await scaler.value()).toBe(512);
  expect(await scaler.unscale([good], [tensor([Number.NaN])]).item()).toBe(0);
  expect(await scaler.value()).toBe(256);
  for (const leaf of [bad, good]) leaf.dispose();
});

test('the scale doubles after enough good updates in a row, up to a bound', async () => {
  using scaler = new LossScaler({ scale: 8, growthInterval: 3 });
  const [good, bad] = [parameter([0]), parameter([Number.NaN])];
  for (const leaf of [good, good, bad, good, good]) await unscale(scaler, [leaf]);
  expect(await scaler.value()).toBe(4);
  await unscale(scaler, [good]);
  expect(await scaler.value()).toBe(8);
  using high = new LossScaler({ scale: 2 ** 23, growthInterval: 1 });
  for (let i = 0; i < 3; i++) await unscale(high, [good]);
  expect(await high.value()).toBe(2 ** 24);
  // One that started above the bound stays there.
  using higher = new LossScaler({ scale: 2 ** 30, growthInterval: 1 });
  await unscale(higher, [good]);
  expect(await higher.value()).toBe(2 ** 30);
  for (const leaf of [good, bad]) leaf.dispose();
});

test('gradients that are never finite are an error', async () => {
  using scaler = new LossScaler({ scale: 2 ** -14 });
  const leaf = parameter([Number.NaN]);
  await unscale(scaler, [leaf]);
  await expect(scaler.value()).rejects.toMatchObject({ code: 'ERR_NOT_FINITE' });
  leaf.dispose();
});

test('the state goes on where it was', async () => {
  using scaler = new LossScaler({ scale: 8, growthInterval: 2 });
  const leaf = parameter([0]);
  await unscale(scaler, [leaf]);
  const state = await scaler.stateDict();
  // As torch.amp.GradScaler has it.
  expect(Object.fromEntries(state)).toEqual({
    scale: new PyFloat(8),
    growth_factor: new PyFloat(2),
    backoff_factor: new PyFloat(0.5),
    growth_interval: 2,
    _growth_tracker: 1,
  });
  using resumed = new LossScaler({ growthInterval: 2 });
  resumed.loadStateDict(state);
  expect(await resumed.value()).toBe(8);
  await unscale(resumed, [leaf]);
  expect(await resumed.value()).toBe(16);
  for (const damaged of [[], [['scale', 8]], [['_growth_tracker', 1]]] as [string, number][][]) {
    expect(() => resumed.loadStateDict(new Map(damaged))).toThrow(/not the state of a loss scaler/);
  }
  leaf.dispose();
});

test('it holds nothing once it is disposed', () => {
  const before = memory().liveTensors;
  new LossScaler().dispose();
  expect(memory().liveTensors).toBe(before);
});
