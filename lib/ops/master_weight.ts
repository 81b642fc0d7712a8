import { type DType, type NativeTensor, native } from '../native/load';
import { ACCUMULATED } from '../tensor/autograd';
import type { Tensor } from '../tensor/tensor';

/** The tensor to multiply x by: for bfloat16 x and a float32 master weight its cached bfloat16 copy. */
export function multiplicand(x: Tensor, weight: Tensor): Tensor {
  return x.dtype === 'bfloat16' && weight.dtype === 'float32' ? weight.castCached('bfloat16') : weight;
}

/**
 * `duᵀ x`, summed in float32 and added to `into` when there is such a gradient already; rounded only for a weight that
 * is itself bfloat16.
 *
 * @param du [rows, out]
 * @param x [rows, in]
 * @param dtype of the weight
 */
export function weightGradient(
  du: NativeTensor,
  x: NativeTensor,
  dtype: DType,
  into: NativeTensor | null,
): NativeTensor | typeof ACCUMULATED {
  if (dtype === 'float32') return native().linearBackwardWeight(du, x, into) ?? ACCUMULATED;
  const sum = native().linearBackwardWeight(du, x, null)!;
  const rounded = native().cast(sum, dtype);
  native().release(sum);
  return rounded;
}
