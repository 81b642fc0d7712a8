import { mul } from '../../lib/ops/binary';
import { crossEntropy } from '../../lib/ops/cross_entropy';
import { backward } from '../../lib/tensor/autograd';
import { tensor } from '../../lib/tensor/tensor';
import { checkOp, expectClose } from '../support/check_op';
import { type Dense, dense, randomDense } from '../support/dense';

const smoothing = [0, 0.1, 0.25];
const soft = { shape: [3, 6], data: randomDense([3, 6], 42).data.map(Math.abs) };
const softTargets = tensor(Float32Array.from(soft.data), soft.shape);

function reference(logits: Dense, targets: (row: number, k: number) => number, smooth: number): Dense {
  const [batch, classes] = logits.shape as [number, number];
  let loss = 0;
  for (let row = 0; row < batch; row++) {
    const x = Array.from(logits.data.subarray(row * classes, (row + 1) * classes));
    const largest = Math.max(...x);
    const logSum = largest + Math.log(x.reduce((s, v) => s + Math.exp(v - largest), 0));
    x.forEach((value, k) => {
      loss -= ((1 - smooth) * targets(row, k) + smooth / classes) * (value - logSum);
    });
  }
  return dense([], () => loss / batch);
}

describe('labels', () =>
  checkOp({
    run: ([logits, labels], i) => crossEntropy(logits!, labels!, { labelSmoothing: smoothing[i] }),
    reference: ([logits, labels]: Dense[], i) =>
      reference(logits!, (row, k) => (labels!.data[row] === k ? 1 : 0), smoothing[i]!),
    cases: [
      { name: 'int32', inputs: [[2, 5], { shape: [2], integers: [4, 0], dtype: 'int32' }] },
      { name: 'int64, smoothed', inputs: [[3, 4], { shape: [3], integers: [1, 1, 3], dtype: 'int64' }] },
      { name: 'many classes', inputs: [[2, 400], { shape: [2], integers: [399, 7], dtype: 'int64' }] },
    ],
    // The loss is float32 whatever the logits are, but a bfloat16 gradient is rounded once more.
    slack: 8,
  }));

describe('soft targets', () =>
  checkOp({
    run: ([logits], i) => crossEntropy(logits!, softTargets, { labelSmoothing: smoothing[i] }),
    reference: ([logits]: Dense[], i) =>
      reference(logits!, (row, k) => soft.data[row * 6 + k]!, smoothing[i]!),
    cases: [
      { name: 'rows that do not sum to 1', inputs: [[3, 6]] },
      { name: 'smoothed', inputs: [[3, 6]] },
    ],
    slack: 8,
  }));

test('the gradient of the loss scales the gradient of the logits', async () => {
  const logits = tensor([[1, 2]], undefined, { requiresGrad: true });
  backward(mul(crossEntropy(logits, tensor(new Int32Array([0]))), 3));
  const p = 1 / (1 + Math.exp(-1));
  const [gradient] = (await logits.grad!.toArray()) as number[][];
  expectClose('gradient', gradient!, [-3 * p, 3 * p], 1e-6);
});

test('a logit of -Infinity counts for nothing where its weight is 0', async () => {
  const logits = tensor([[1, 2, -Infinity]], undefined, { requiresGrad: true });
  const loss = crossEntropy(logits, tensor(new Int32Array([0])));
  backward(loss);
  const p = 1 / (1 + Math.exp(1));
  expect(await loss.item()).toBeCloseTo(-Math.log(p), 6);
  const [gradient] = (await logits.grad!.toArray()) as number[][];
  expectClose('gradient', gradient!, [p - 1, 1 - p, 0], 1e-6);
  expect(await crossEntropy(logits, tensor([[0.5, 0.5, 0]])).item()).toBeCloseTo(-Math.log(p) - 0.5, 6);
  expect(await crossEntropy(logits, tensor(new Int32Array([2]))).item()).toBe(Infinity);
});

test('a label out of range rejects at the next await, naming row, label and classes', async () => {
  const logits = tensor(new Float32Array(6), [2, 3]);
  const loss = crossEntropy(logits, tensor(new BigInt64Array([1n, 3n])));
  await expect(loss.item()).rejects.toMatchObject({
    code: 'ERR_INDEX_RANGE',
    message: expect.stringMatching(/row 1 is 3.*3 classes|index 3 is outside 0 \.\. 2/),
  });
  await expect(logits.data()).resolves.toHaveLength(6);
});

test('checks shapes, dtypes and smoothing at the call', () => {
  const logits = tensor(new Float32Array(6), [2, 3]);
  const code = (value: string) => expect.objectContaining({ code: value });
  expect(() => crossEntropy(logits, tensor(new Int32Array(3)))).toThrow(code('ERR_SHAPE'));
  expect(() => crossEntropy(logits, tensor(new Float32Array(3)))).toThrow(code('ERR_SHAPE'));
  expect(() => crossEntropy(logits, tensor(new Uint8Array(2)))).toThrow(code('ERR_DTYPE'));
  expect(() => crossEntropy(logits, tensor(new Int32Array(2)), { labelSmoothing: 1 })).toThrow(
    code('ERR_ARGUMENT'),
  );
});
