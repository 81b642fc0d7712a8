import { div } from '../../lib/ops/binary';
import { l2Normalize } from '../../lib/ops/l2_normalize';
import { sum } from '../../lib/ops/reduce';
import { sqrt, square } from '../../lib/ops/unary';
import { backward } from '../../lib/tensor/autograd';
import { scope } from '../../lib/tensor/scope';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense } from '../support/dense';

const reference = ([x]: Dense[]) => {
  const width = x!.shape[x!.shape.length - 1]!;
  const lengths = Array.from({ length: x!.data.length / width }, (_, row) =>
    Math.hypot(...x!.data.subarray(row * width, (row + 1) * width)),
  );
  return dense(x!.shape, (i) => x!.data[i]! / lengths[Math.floor(i / width)]!);
};

const cases = [
  { name: 'rows', inputs: [[3, 8]] },
  { name: 'odd width', inputs: [[2, 3, 515]] },
  { name: 'vector', inputs: [[5]] },
  { name: 'no rows', inputs: [[0, 4]] },
];

describe('native', () => checkOp({ run: ([x]) => l2Normalize(x!), reference, cases }));

// The composition it replaces, held to the same reference.
const composed = (x: Tensor) => scope(() => div(x, sqrt(sum(square(x), -1, true))));
describe('composed', () => checkOp({ run: ([x]) => composed(x!), reference, cases, dtypes: ['float32'] }));

test('a zero row stays zero and has a finite gradient', async () => {
  const x = tensor([[0, 0]], undefined, { requiresGrad: true });
  const y = l2Normalize(x, { eps: 0.5 });
  expect(await y.toArray()).toEqual([[0, 0]]);
  backward(y, tensor([[1, 3]]));
  expect(await x.grad!.toArray()).toEqual([[2, 6]]);
});

test('a scalar is an ERR_SHAPE', () => {
  expect(() => l2Normalize(tensor(1))).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
});
