import { CodedError } from '../base/error';
import { scope } from '../tensor/scope';
import { describe, type Tensor } from '../tensor/tensor';
import { permute, reshape } from './layout';
import { linear } from './linear';

/**
 * Cuts images into square patches and projects each: a convolution whose stride is its size (Dosovitskiy et al., 2021),
 * as one matrix product. Patches come row by row.
 *
 * @param images float32 or bfloat16 [N, C, H, W]; H and W multiples of P
 * @param weight [D, C, P, P]
 * @param bias float32 [D]
 * @returns [N, (H / P) * (W / P), D]
 * @throws ERR_SHAPE
 *
 * @example
 * const tokens = patchEmbed(zeros([2, 3, 32, 32]), zeros([64, 3, 8, 8])); // [2, 16, 64]
 */
export function patchEmbed(images: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  const [count, channels, height, width] = images.shape as [number, number, number, number];
  const [outputs, inputs, side, other] = weight.shape as [number, number, number, number];
  const fits = images.rank === 4 && weight.rank === 4 && inputs === channels && side === other;
  if (!fits || height % side !== 0 || width % side !== 0) {
    throw new CodedError(
      'ERR_SHAPE',
      `patch_embed: images must be [N, C, H, W] and weight [D, C, P, P] with P dividing H and W, ` +
        `got ${describe(images)} and ${describe(weight)}`,
    );
  }
  const [rows, columns, inside] = [height / side, width / side, channels * side * side];
  return scope(() => {
    const cut = reshape(images, [count, channels, rows, side, columns, side]);
    const patches = reshape(permute(cut, [0, 2, 4, 1, 3, 5]), [count, rows * columns, inside]);
    return linear(patches, reshape(weight, [outputs, inside]), bias);
  });
}
