import { kindOf } from '../base/check';
import { CodedError } from '../base/error';
import { type Device, resolveDevice } from '../native/device';
import { native } from '../native/load';
import { cast } from '../ops';
import type { Tensor } from '../tensor/tensor';

/** What activations are computed in. */
export type ComputeDtype = 'float32' | 'bfloat16' | 'float16';

/** @throws ERR_DTYPE for what is no {@link ComputeDtype}, and when the device does not compute in it */
export function checkComputeDtype(dtype: ComputeDtype, device?: Device): void {
  if (!['float32', 'bfloat16', 'float16'].includes(dtype))
    throw new CodedError('ERR_DTYPE', `cannot compute in ${kindOf(dtype)}; use float32, bfloat16 or float16`);
  const type = resolveDevice(device);
  if (!native().deviceComputes(type, dtype)) {
    throw new CodedError(
      'ERR_DTYPE',
      `the device '${type}' does not compute in ${dtype}; use bfloat16 or float32`,
    );
  }
}

/** `x` itself when it has that dtype already, else a differentiable cast. */
export function inDtype(x: Tensor, dtype: ComputeDtype): Tensor {
  return x.dtype === dtype ? x : cast(x, dtype);
}
