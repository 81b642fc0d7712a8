import { named } from '../base/check';
import { CodedError } from '../base/error';
import { noGrad } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import { scope } from '../tensor/scope';
import { describe, type Tensor } from '../tensor/tensor';
import { add, mul } from './binary';
import { arange } from './copy';
import { crossEntropy } from './cross_entropy';
import { permute } from './layout';

/**
 * The symmetric loss of image-text models (Radford et al., 2021, figure 3): of B videos and their B texts, each video has
 * to pick its own text out of all, and each text its own video. The mean of both cross entropies.
 *
 * @param logits scaled cosines, float32 or bfloat16 [B, B]: row i is video i, and column i its text
 * @returns float32 scalar
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const videos = l2Normalize(tensor([[1, 0], [0, 2]]));
 * const texts = l2Normalize(tensor([[3, 0], [0, 4]]));
 * const scale = exp(tensor(Math.log(1 / 0.07))); // learned as its logarithm
 * const loss = contrastiveLoss(mul(matmul(videos, texts, { transposeB: true }), scale)); // 6e-7
 */
export function contrastiveLoss(logits: Tensor): Tensor {
  checkTensor('contrastiveLoss', 'logits', logits);
  const [videos, texts] = logits.shape;
  if (logits.rank !== 2 || videos !== texts || videos === 0)
    throw new CodedError(
      'ERR_SHAPE',
      `contrastiveLoss: logits must be [B, B], B >= 1, a text for each video, got ${describe(logits)}`,
    );
  return named('contrastiveLoss', () =>
    scope(() => {
      const own = noGrad(() => arange(0, videos!, { dtype: 'int32', device: logits.device }));
      const [byVideo, byText] = [crossEntropy(logits, own), crossEntropy(permute(logits, [1, 0]), own)];
      return mul(add(byVideo, byText), 0.5);
    }),
  );
}
