import { clipGradNorm } from '../../lib/optim/clip_grad';
import { tensor } from '../../lib/tensor/tensor';

function leaf(values: number[], gradient: number[] | null) {
  const p = tensor(values, [values.length], { requiresGrad: true });
  p.grad = gradient && tensor(gradient);
  return p;
}

test('gradients above the norm are scaled together, the norm before is returned', async () => {
  const list = [leaf([0, 0], [3, 0]), leaf([0], [4]), leaf([0], null)];
  const norm = clipGradNorm(list, 1)!;
  expect(await norm.item()).toBe(5);
  expect(await list[0]!.grad!.toArray()).toEqual([Math.fround(0.6), 0]);
  expect(await list[1]!.grad!.toArray()).toEqual([Math.fround(0.8)]);
});

test('gradients below the norm, and zero ones, stay', async () => {
  const small = leaf([0], [0.5]);
  clipGradNorm([small], 1)!.dispose();
  expect(await small.grad!.toArray()).toEqual([0.5]);
  const zero = leaf([0], [0]);
  clipGradNorm([zero], 1)!.dispose();
  expect(await zero.grad!.toArray()).toEqual([0]);
});

test('no gradients, no norm', () => {
  expect(clipGradNorm([leaf([1], null)], 1)).toBeNull();
});
