import { optim } from '../../lib';
import { CodedError } from '../../lib/base/error';
import { defaultDevice } from '../../lib/native/device';
import * as ops from '../../lib/ops';
import type { Tensor } from '../../lib/tensor/tensor';

const onCuda = defaultDevice() === 'cuda';
const here = (...shape: number[]) => ops.ones(shape);
const there = (...shape: number[]) => ops.ones(shape, { device: 'cpu' });
const numbers = (n: number) => ops.zeros([n], { dtype: 'int32', device: 'cpu' });

const mixed: [string, () => unknown][] = [
  ['add', () => ops.add(here(2), there(2))],
  ['matmul', () => ops.matmul(here(2, 2), there(2, 2))],
  ['linear', () => ops.linear(here(2, 4), there(3, 4))],
  ['linear', () => ops.linear(here(2, 4), here(3, 4), there(3))],
  ['linear', () => ops.linear(here(2, 4), here(3, 4), here(3), { residual: there(2, 3) })],
  ['mlp', () => ops.mlp(here(2, 4), { weight: there(6, 4) }, { weight: there(4, 6) })],
  ['attention', () => ops.attention(here(1, 2, 4), there(1, 2, 4), here(1, 2, 4), { heads: 2 })],
  ['layer_norm', () => ops.layerNorm(here(2, 4), there(4), here(4))],
  ['concat', () => ops.concat([here(2), there(2)])],
  ['cross_entropy', () => ops.crossEntropy(here(2, 4), numbers(2))],
  ['embedding', () => ops.embedding(numbers(2), here(2, 4))],
  ['gather_rows', () => ops.gatherRows(here(2, 3, 4), numbers(2))],
  ['patch_embed', () => ops.patchEmbed(here(1, 3, 4, 4), there(5, 3, 2, 2))],
  ['gradNorm', () => ops.gradNorm([here(2), there(2)])],
  ['allFinite', () => ops.allFinite([here(2), there(2)])],
  ['scaleInPlace', () => ops.scaleInPlace([here(2)], there())],
  ['clipGradNorm', () => optim.clipGradNorm([withGradient(here(2)), withGradient(there(2))], 1)],
  ['assign', () => here(2).assign(there(2))],
];

function withGradient(x: Tensor): Tensor {
  x.grad = ops.ones(x.shape, { device: x.device });
  return x;
}

// Where there are two devices.
(onCuda ? test : test.skip).each(mixed)('%s refuses tensors of two devices', (name, call) => {
  let error: unknown;
  try {
    call();
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(CodedError);
  expect(error).toMatchObject({ code: 'ERR_DEVICE' });
  if (name !== 'clipGradNorm') expect((error as Error).message).toMatch(new RegExp(`^${name}: `));
});
