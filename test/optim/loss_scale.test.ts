import type { PyFloat } from '../../lib/io';
import { LossScaler } from '../../lib/optim';
import { type Tensor, tensor } from '../../lib/tensor/tensor';

/** A parameter with the given gradient. */
function parameter(gradient: number[]): Tensor {
  const leaf = tensor(new Float32Array(gradient.length), undefined, { requiresGrad: true });
  leaf.grad = tensor(gradient);
  return leaf;
}

test('finite gradients are divided by the scale', async () => {
  const scaler = new LossScaler({ scale: 1024 });
  const [a, b] = [parameter([1024, -2048]), parameter([3])];
  expect(await scaler.unscale([a, b])).toBe(true);
  expect(await a.grad!.toArray()).toEqual([1, -2]);
  expect(await b.grad!.toArray()).toEqual([3 / 1024]);
  expect(scaler.scale).toBe(1024);
  for (const leaf of [a, b]) leaf.dispose();
});

test('an overflow halves the scale and leaves the gradients', async () => {
  const scaler = new LossScaler({ scale: 1024 });
  const leaf = parameter([1, Number.POSITIVE_INFINITY]);
  expect(await scaler.unscale([leaf])).toBe(false);
  expect(scaler.scale).toBe(512);
  expect(await leaf.grad!.toArray()).toEqual([1, Number.POSITIVE_INFINITY]);
  leaf.dispose();
});

test('the scale doubles after enough good updates in a row', async () => {
  const scaler = new LossScaler({ scale: 8, growthInterval: 3 });
  const [good, bad] = [parameter([0]), parameter([Number.NaN])];
  for (const leaf of [good, good, bad, good, good]) await scaler.unscale([leaf]);
  expect(scaler.scale).toBe(4);
  await scaler.unscale([good]);
  expect(scaler.scale).toBe(8);
  for (const leaf of [good, bad]) leaf.dispose();
});

test('gradients that are never finite are an error', async () => {
  const scaler = new LossScaler({ scale: 2 ** -14 });
  const leaf = parameter([Number.NaN]);
  await expect(scaler.unscale([leaf])).rejects.toMatchObject({ code: 'ERR_NOT_FINITE' });
  leaf.dispose();
});

test('the state goes on where it was', async () => {
  const scaler = new LossScaler({ scale: 8, growthInterval: 2 });
  const leaf = parameter([0]);
  await scaler.unscale([leaf]);
  const resumed = new LossScaler({ growthInterval: 2 });
  const plain = [...scaler.stateDict()].map(
    ([key, value]) => [key, (value as PyFloat).value ?? value] as const,
  );
  resumed.loadStateDict(new Map(plain));
  expect(resumed.scale).toBe(8);
  await resumed.unscale([leaf]);
  expect(resumed.scale).toBe(16);
  expect(() => resumed.loadStateDict(new Map())).toThrow(/not the state of a loss scaler/);
  leaf.dispose();
});
