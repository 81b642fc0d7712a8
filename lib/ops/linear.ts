import { checkKnownOptions, type KnownOptions } from '../base/check';
import { native } from '../native/load';
import { type Gradient, unaryOutput } from '../tensor/autograd';
import { checkOptionalTensor, checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';
import { multiplicand, parameterGradients } from './master_weight';

export interface LinearOptions {
  /** Applied to `x Wᵀ + b`; `quick_gelu` is `u sigmoid(1.702 u)`. Default `none`. */
  activation?: 'none' | 'quick_gelu';
  /** Added last: [..., out] in the dtype of x. */
  residual?: Tensor | null;
}

const keys: KnownOptions<LinearOptions> = { activation: true, residual: true };

/**
 * `activation(x Wᵀ + bias) + residual` over the last dimension.
 *
 * With x in bfloat16 a float32 `weight` is a master weight: its cached bfloat16 copy is multiplied, and its gradient is
 * float32. Sums are float32 in any dtype.
 *
 * @param x float32 or bfloat16 [..., in]
 * @param weight [out, in] in the dtype of x, or float32
 * @param bias float32 [out]
 * @returns [..., out] in the dtype of x
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT
 *
 * @example
 * const y = linear(tensor([[1, 2]]), tensor([[3, 4], [5, 6]]), tensor([0.5, 0])); // [[11.5, 17]]
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor | null, options: LinearOptions = {}): Tensor {
  checkTensor('linear', 'x', x);
  checkTensor('linear', 'weight', weight);
  checkOptionalTensor('linear', 'bias', bias);
  checkKnownOptions('linear', options, keys);
  const { activation = 'none', residual = null } = options;
  checkOptionalTensor('linear', 'residual', residual);
  const factor = multiplicand(x, weight);
  return unaryOutput(
    'linear',
    [x, weight, bias, residual],
    ({ needs: [byX, byWeight, byBias], save }) => {
      const [y, slope] = native().linearForward(
        x.handle,
        factor.handle,
        bias?.handle ?? null,
        residual?.handle ?? null,
        activation,
        Boolean(byX || byWeight || byBias),
      );
      save(byWeight ? x.handle : null, byX ? factor.handle : null, slope ?? null);
      return y;
    },
    ([dy], [savedX, savedWeight, slope], { needs, into }) => {
      const du = slope ? native().linearBackwardSlope(dy!, slope) : native().retain(dy!);
      const grads: Gradient[] = [
        needs[0] ? native().linearBackwardInput(du, savedWeight!, null) : null,
        ...parameterGradients(
          du,
          savedX!,
          { needed: needs[1]!, into: into(1), dtype: weight.dtype },
          { needed: needs[2]!, into: into(2) },
        ),
        needs[3] ? native().retain(dy!) : null,
      ];
      native().release(du);
      return grads;
    },
  );
}
