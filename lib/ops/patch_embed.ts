import { CodedError } from '../base/error';
import { native } from '../native/load';
import { ACCUMULATED, unaryOutput } from '../tensor/autograd';
import { checkOptionalTensor, checkTensor } from '../tensor/check';
import { describe, type Tensor } from '../tensor/tensor';
import { multiplicand, parameterGradients } from './master_weight';
import { withTemporaries } from './temporaries';

/**
 * Cuts images into square patches that do not overlap and maps each to D numbers: a convolution whose stride is its
 * kernel size, with the patches of an image as rows, from left to right and top to bottom.
 *
 * As in `linear`, a float32 `weight` of bfloat16 images is a master weight.
 *
 * @param images float32 or bfloat16 [N, C, H, W], H and W multiples of p
 * @param weight [D, C, p, p] in the dtype of images, or float32
 * @param bias float32 [D]
 * @returns [N, (H / p) (W / p), D] in the dtype of images
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const tokens = patchEmbed(zeros([1, 3, 224, 224]), zeros([768, 3, 32, 32])); // shape [1, 49, 768]
 */
export function patchEmbed(images: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  checkTensor('patchEmbed', 'images', images);
  checkTensor('patchEmbed', 'weight', weight);
  checkOptionalTensor('patchEmbed', 'bias', bias);
  const [dim = 0, channels = 0, patch = 0, across] = weight.shape;
  if (weight.rank !== 4 || patch !== across || images.rank !== 4 || images.shape[1] !== channels) {
    throw new CodedError(
      'ERR_SHAPE',
      `patchEmbed: weight must be [D, C, p, p] for images [N, C, H, W], got ${describe(weight)} for ${describe(images)}`,
    );
  }
  const [height, width] = [images.dim(2), images.dim(3)];
  const factor = multiplicand(images, weight);
  const matrix = [dim, channels * patch * patch];
  return unaryOutput(
    'patch_embed',
    [images, weight, bias],
    ({ needs: [byImages, byWeight], save }) => {
      save(byWeight ? images.handle : null, byImages ? factor.handle : null);
      return withTemporaries((temporary) => {
        const flat = temporary(native().reshape(factor.handle, matrix));
        const rows = temporary(native().patchEmbedRows(images.handle, patch));
        return native().linearForward(rows, flat, bias?.handle ?? null, null, 'none', false)[0];
      });
    },
    ([dy], [images, kernels], { needs, into }) =>
      withTemporaries((temporary) => {
        const imagesGradient = () => {
          const flat = temporary(native().reshape(kernels!, matrix));
          const drows = temporary(native().linearBackwardInput(dy!, flat, null));
          return native().patchEmbedImages(drows, height, width, patch);
        };
        // The patches are cut again: cheaper than keeping a second copy of the images until now.
        const kernelGradient = () => {
          const existing = into(1);
          const target = {
            needed: true,
            into: existing && temporary(native().reshape(existing, matrix)),
            dtype: weight.dtype,
          };
          const rows = temporary(native().patchEmbedRows(images!, patch));
          const [sum] = parameterGradients(dy!, rows, target, { needed: false, into: null });
          return sum === null || sum === ACCUMULATED ? sum : native().reshape(temporary(sum), weight.shape);
        };
        return [
          needs[0] ? imagesGradient() : null,
          needs[1] ? kernelGradient() : null,
          needs[2] ? (native().linearBackwardBias(dy!, into(2)) ?? ACCUMULATED) : null,
        ];
      }),
  );
}
