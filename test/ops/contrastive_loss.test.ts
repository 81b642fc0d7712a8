import { exp, l2Normalize, matmul, mul } from '../../lib/ops';
import { contrastiveLoss } from '../../lib/ops/contrastive_loss';
import { scope } from '../../lib/tensor/scope';
import { tensor } from '../../lib/tensor/tensor';
import { checkOp, expectClose } from '../support/check_op';
import { type Dense, dense } from '../support/dense';

/** Cross entropy of rows and of columns with the diagonal, and the mean of both. */
function reference({ data, shape: [size] }: Dense): Dense {
  const n = size!;
  const lines = Array.from({ length: n }, (_, i) => [
    Array.from({ length: n }, (_, j) => data[i * n + j]!),
    Array.from({ length: n }, (_, j) => data[j * n + i]!),
  ]);
  let loss = 0;
  for (const [i, both] of lines.entries()) {
    for (const line of both) {
      const most = Math.max(...line);
      loss += most + Math.log(line.reduce((total, x) => total + Math.exp(x - most), 0)) - line[i]!;
    }
  }
  return dense([], () => loss / (2 * n));
}

describe('of logits', () =>
  checkOp({
    run: ([logits]) => contrastiveLoss(logits!),
    reference: ([logits]) => reference(logits!),
    cases: [
      { name: 'one pair', inputs: [[1, 1]] },
      { name: 'few', inputs: [[5, 5]] },
      { name: 'far apart', inputs: [{ shape: [4, 4], scale: 30 }] },
      { name: 'many', inputs: [[64, 64]] },
    ],
    // As of cross entropy: the loss is float32, and a bfloat16 gradient is rounded once more.
    slack: 8,
  }));

/** Rows of unit length. */
function unit({ data, shape }: Dense): Dense {
  const width = shape[1]!;
  const length = (row: number) => Math.hypot(...data.subarray(row * width, (row + 1) * width));
  return dense([...shape], (i) => data[i]! / length(Math.floor(i / width)));
}

describe('of features and the logarithm of their scale', () =>
  checkOp({
    run: ([videos, texts, scale]) =>
      scope(() => {
        const cosines = matmul(l2Normalize(videos!), l2Normalize(texts!), { transposeB: true });
        return contrastiveLoss(mul(cosines, exp(scale!)));
      }),
    reference: ([videos, texts, scale]) => {
      const [size, width] = videos!.shape as [number, number];
      const [a, b] = [unit(videos!).data, unit(texts!).data];
      const cosine = (i: number, j: number) => {
        let product = 0;
        for (let k = 0; k < width; k++) product += a[i * width + k]! * b[j * width + k]!;
        return product;
      };
      const factor = Math.exp(scale!.data[0]!);
      return reference(dense([size, size], (i) => factor * cosine(Math.floor(i / size), i % size)));
    },
    cases: [
      {
        name: 'at the start of training',
        inputs: [[4, 6], [4, 6], { shape: [], values: [Math.log(1 / 0.07)] }],
      },
    ],
    dtypes: ['float32'],
    slack: 16, // products, lengths and exponentials come before
  }));

test('a video that is most like its own text, and only to it, has no loss; alike ones share', async () => {
  const same = contrastiveLoss(tensor(new Float32Array(9), [3, 3]));
  const own = contrastiveLoss(
    tensor([
      [50, 0],
      [0, 50],
    ]),
  );
  expectClose('alike', [await same.item()], [Math.log(3)], 1e-6);
  expect(await own.item()).toBe(0);
});

test.each([[[2, 3]], [[4]], [[0, 0]], [[1, 2, 2]]])('refuses %j', (shape) => {
  const logits = tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape);
  expect(() => contrastiveLoss(logits)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
});
