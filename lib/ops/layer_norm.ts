import { checkKnownOptions, type KnownOptions } from '../base/check';
import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkOptionalTensor, checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

export interface LayerNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** One extra row per sequence, [N, D] for x [N, L, D]: the result is [N, L + 1, D] with that row last. */
  append?: Tensor | null;
}

const keys: KnownOptions<LayerNormOptions> = { eps: true, append: true };

/**
 * Layer normalisation over the last dimension (Ba et al., 2016): `(x - mean) / sqrt(variance + eps) * weight + bias`,
 * with float32 statistics.
 *
 * @param x float32 or bfloat16 [..., D]
 * @param weight float32 [D]
 * @param bias float32 [D]
 * @returns as x ([N, L + 1, D] with `append`)
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const y = layerNorm(tensor([[1, 2, 3]]), ones([3]), zeros([3])); // [[-1.22, 0, 1.22]]
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, options: LayerNormOptions = {}): Tensor {
  checkTensor('layer_norm', 'x', x);
  checkTensor('layer_norm', 'weight', weight);
  checkTensor('layer_norm', 'bias', bias);
  checkKnownOptions('layer_norm', options, keys);
  const { append = null, eps = 1e-5 } = options;
  checkOptionalTensor('layer_norm', 'append', append);
  return unaryOutput(
    'layer_norm',
    [x, append, weight, bias],
    (context) => {
      const [y, mean, rstd] = native().layerNormForward(
        x.handle,
        append?.handle ?? null,
        weight.handle,
        bias.handle,
        eps,
      );
      context.save(x.handle, weight.handle, mean, rstd, ...(append ? [append.handle] : []));
      return y;
    },
    ([dy], [x, weight, mean, rstd, append], { take }) => {
      const [dx, dappend, dweight, dbias] = native().layerNormBackward(
        dy!,
        x!,
        append ?? null,
        weight!,
        mean!,
        rstd!,
        take(0),
      );
      return [dx, dappend, dweight, dbias];
    },
  );
}
