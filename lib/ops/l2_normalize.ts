import { checkKnownOptions, type KnownOptions } from '../base/check';
import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

export interface L2NormalizeOptions {
  /** The smallest length to divide by, so that a zero row stays zero. Default 1e-12. */
  eps?: number;
}

const keys: KnownOptions<L2NormalizeOptions> = { eps: true };

/**
 * Rows of unit Euclidean length: `x / max(|x|, eps)` over the last dimension, with float32 lengths.
 *
 * @param x float32 or bfloat16 [..., D]
 * @returns as x
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const y = l2Normalize(tensor([[3, 4]])); // [[0.6, 0.8]]
 */
export function l2Normalize(x: Tensor, options: L2NormalizeOptions = {}): Tensor {
  checkTensor('l2_normalize', 'x', x);
  checkKnownOptions('l2_normalize', options, keys);
  const { eps = 1e-12 } = options;
  return unaryOutput(
    'l2_normalize',
    [x],
    (context) => {
      const [y, norm] = native().l2NormalizeForward(x.handle, eps);
      context.save(x.handle, norm);
      return y;
    },
    ([dy], [savedX, norm]) => [native().l2NormalizeBackward(dy!, savedX!, norm!, eps)],
  );
}
