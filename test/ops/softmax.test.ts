import { logSoftmax, softmax } from '../../lib/ops/softmax';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense } from '../support/dense';

const axes = [-1, -1, 1, 0, -1];
const cases = [
  { name: 'rows', inputs: [[3, 7]] },
  { name: 'wide rows, large logits', inputs: [{ shape: [2, 2, 400], scale: 8 }] },
  { name: 'middle axis', inputs: [[2, 5, 3]] },
  { name: 'one element', inputs: [[1]] },
  { name: 'no rows', inputs: [[0, 3]] },
];

function reference(x: Dense, axis: number, logarithm: boolean): Dense {
  const d = axis < 0 ? axis + x.shape.length : axis;
  const step = x.shape.slice(d + 1).reduce((a, b) => a * b, 1);
  const y = dense(x.shape);
  for (let first = 0; first < x.data.length; first++) {
    if (Math.floor(first / step) % x.shape[d]! !== 0) continue;
    const places = Array.from({ length: x.shape[d]! }, (_, k) => first + k * step);
    const largest = Math.max(...places.map((i) => x.data[i]!));
    const logSum = largest + Math.log(places.reduce((s, i) => s + Math.exp(x.data[i]! - largest), 0));
    for (const i of places) y.data[i] = logarithm ? x.data[i]! - logSum : Math.exp(x.data[i]! - logSum);
  }
  return y;
}

const check = (name: string, op: (x: Tensor, axis: number) => Tensor, logarithm: boolean) =>
  describe(name, () =>
    checkOp({
      run: ([x], i) => op(x!, axes[i]!),
      reference: ([x]: Dense[], i) => reference(x!, axes[i]!, logarithm),
      cases,
    }),
  );

check('softmax', softmax, false);
check('logSoftmax', logSoftmax, true);

test('huge and masked logits', async () => {
  const x = tensor([1000, Number.NEGATIVE_INFINITY, 1000]);
  expect(await softmax(x).toArray()).toEqual([0.5, 0, 0.5]);
  expect(await logSoftmax(tensor([0, 1000])).toArray()).toEqual([-1000, 0]);
  expect(await softmax(tensor([-3e38, -3e38])).toArray()).toEqual([0.5, 0.5]);
});

test('an axis that does not exist is an ERR_SHAPE', () => {
  const x = tensor(new Float32Array(6), [2, 3]);
  expect(() => softmax(x, 2)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
});
