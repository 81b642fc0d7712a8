import { cast } from '../ops';
import type { Tensor } from '../tensor/tensor';

/** What activations are computed in. */
export type ComputeDtype = 'float32' | 'bfloat16';

/** `x` itself when it has that dtype already, else a differentiable cast. */
export function inDtype(x: Tensor, dtype: ComputeDtype): Tensor {
  return x.dtype === dtype ? x : cast(x, dtype);
}
