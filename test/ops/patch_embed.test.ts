import { patchEmbed } from '../../lib/ops';
import { tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense } from '../support/dense';

function reference([images, weight, bias]: Dense[]): Dense {
  const [N, C, H, W] = images!.shape as [number, number, number, number];
  const [D, , P] = weight!.shape as [number, number, number];
  const columns = W / P;
  const y = dense([N, (H / P) * columns, D]);
  for (let n = 0; n < N; n++)
    for (let t = 0; t < y.shape[1]!; t++)
      for (let d = 0; d < D; d++) {
        let sum = bias ? bias.data[d]! : 0;
        const top = Math.floor(t / columns) * P;
        const left = (t % columns) * P;
        for (let c = 0; c < C; c++)
          for (let i = 0; i < P; i++)
            for (let j = 0; j < P; j++) {
              const pixel = images!.data[((n * C + c) * H + top + i) * W + left + j]!;
              sum += pixel * weight!.data[((d * C + c) * P + i) * P + j]!;
            }
        y.data[(n * y.shape[1]! + t) * D + d] = sum;
      }
  return y;
}

checkOp({
  run: ([images, weight, bias]) => patchEmbed(images!, weight!, bias),
  reference,
  cases: [
    {
      name: 'square',
      inputs: [
        [2, 3, 8, 8],
        [5, 3, 4, 4],
      ],
    },
    { name: 'wide, with bias', inputs: [[1, 2, 6, 9], [4, 2, 3, 3], { shape: [4], dtype: 'float32' }] },
    {
      name: 'no images',
      inputs: [
        [0, 3, 4, 4],
        [2, 3, 2, 2],
      ],
    },
  ],
});

test('refuses patches that do not tile the image', () => {
  const images = tensor(new Float32Array(3 * 7 * 8), [1, 3, 7, 8]);
  const weight = tensor(new Float32Array(2 * 3 * 16), [2, 3, 4, 4]);
  expect(() => patchEmbed(images, weight)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
});
