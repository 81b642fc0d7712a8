import { type DType, type NativeTensor, native } from '../native/load';
import { ACCUMULATED, type Gradient } from '../tensor/autograd';
import type { Tensor } from '../tensor/tensor';

/** The tensor to multiply x by: for 16-bit x and a float32 master weight its cached 16-bit copy. */
export function multiplicand(x: Tensor, weight: Tensor): Tensor {
  const is16Bit = x.dtype === 'bfloat16' || x.dtype === 'float16';
  return is16Bit && weight.dtype === 'float32' ? weight.castCached(x.dtype) : weight;
}

/** A parameter in a backward pass: whether its gradient is wanted, and the one it has already, to add to. */
export interface Wanted {
  needed: boolean;
  into: NativeTensor | null;
}

/**
 * Gradients of a linear layer's weight, `duᵀ x`, and bias, the sum of `du` over rows, from one reading of `du`. Both are
 * summed in float32; that of a weight which itself has 16 bits is rounded once and cannot be added in place.
 *
 * @param du [..., out]
 * @param x [..., in]
 * @returns for weight and bias: a new handle, ACCUMULATED when it was added to `into`, or null when not wanted
 */
export function parameterGradients(
  du: NativeTensor,
  x: NativeTensor,
  weight: Wanted & { dtype: DType },
  bias: Wanted,
): [weight: Gradient, bias: Gradient] {
  if (!weight.needed) {
    return [null, bias.needed ? (native().linearBackwardBias(du, bias.into) ?? ACCUMULATED) : null];
  }
  const master = weight.dtype === 'float32';
  const [sum, dbias] = native().linearBackwardWeight(
    du,
    x,
    master ? weight.into : null,
    bias.needed,
    bias.into,
  );
  const biasGradient = bias.needed ? (dbias ?? ACCUMULATED) : null;
  if (master) return [sum ?? ACCUMULATED, biasGradient];
  const rounded = native().cast(sum!, weight.dtype);
  native().release(sum!);
  return [rounded, biasGradient];
}
