import { memory } from '../../lib/native/device';
import { patchEmbed } from '../../lib/ops/patch_embed';
import { backward } from '../../lib/tensor/autograd';
import { tensor } from '../../lib/tensor/tensor';
import { type CaseInput, checkOp, expectClose } from '../support/check_op';
import { type Dense, dense, randomDense, sizeOf } from '../support/dense';

const bias = (size: number): CaseInput => ({ shape: [size], dtype: 'float32' });

// A convolution with stride p, written as one.
function reference([images, weight, bias]: Dense[]): Dense {
  const [batch, channels, height, width] = images!.shape as [number, number, number, number];
  const [dim, , patch] = weight!.shape as [number, number, number, number];
  const [down, across] = [height / patch, width / patch];
  const y = dense([batch, down * across, dim]);
  for (let i = 0; i < y.data.length; i++) {
    const d = i % dim;
    const token = Math.floor(i / dim) % (down * across);
    const n = Math.floor(i / dim / (down * across));
    const [top, left] = [Math.floor(token / across) * patch, (token % across) * patch];
    let sum = bias ? bias.data[d]! : 0;
    for (let c = 0; c < channels; c++) {
      for (let a = 0; a < patch; a++) {
        for (let b = 0; b < patch; b++) {
          const pixel = ((n * channels + c) * height + top + a) * width + left + b;
          sum += images!.data[pixel]! * weight!.data[((d * channels + c) * patch + a) * patch + b]!;
        }
      }
    }
    y.data[i] = sum;
  }
  return y;
}

checkOp({
  run: ([images, weight, bias]) => patchEmbed(images!, weight!, bias),
  reference,
  cases: [
    {
      name: 'several images',
      inputs: [
        [2, 3, 4, 4],
        [5, 3, 2, 2],
      ],
    },
    { name: 'odd sizes and a bias', inputs: [[1, 2, 3, 9], [4, 2, 3, 3], bias(4)] },
    {
      name: 'one patch',
      inputs: [
        [1, 1, 4, 4],
        [3, 1, 4, 4],
      ],
    },
    {
      name: 'weight of another precision',
      inputs: [[1, 1, 2, 4], { shape: [2, 1, 2, 2], dtype: 'float32' }],
    },
    { name: 'no images', inputs: [[0, 3, 4, 4], [5, 3, 2, 2], bias(5)] },
  ],
});

test('the gradient of the weight adds up in place over two passes', async () => {
  const make = (shape: number[], seed: number) => Float32Array.from(randomDense(shape, seed).data);
  const images = tensor(make([2, 1, 4, 4], 1), [2, 1, 4, 4]);
  const weight = tensor(make([3, 1, 2, 2], 2), [3, 1, 2, 2], { requiresGrad: true });
  const pass = () => {
    const y = patchEmbed(images, weight);
    const ones = tensor(new Float32Array(sizeOf(y.shape)).fill(1), [...y.shape]);
    backward(y, ones);
    y.dispose();
    ones.dispose();
  };
  pass();
  const once = (await weight.grad!.data()) as Float32Array;
  const live = memory().liveTensors;
  pass();
  expect(memory().liveTensors).toBe(live);
  expect(weight.grad!.shape).toEqual([3, 1, 2, 2]);
  expectClose(
    'sum of two',
    (await weight.grad!.data()) as Float32Array,
    once.map((g) => 2 * g),
    1e-5,
  );
});

const zeros = (...shape: number[]) => tensor(new Float32Array(sizeOf(shape)), shape);

test.each([
  [/images of 5 x 4 do not divide/, () => patchEmbed(zeros(1, 3, 5, 4), zeros(2, 3, 2, 2))],
  [/weight must be \[D, C, p, p\]/, () => patchEmbed(zeros(1, 3, 4, 4), zeros(2, 3, 2, 4))],
  [/float32\[2, 1, 2, 2\] for float32\[1, 3, 4, 4\]/, () => patchEmbed(zeros(1, 3, 4, 4), zeros(2, 1, 2, 2))],
])('rejects wrong shapes: %s', (message, body) => {
  expect(body).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE', message: expect.stringMatching(message) }),
  );
});
