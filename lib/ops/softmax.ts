import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkAxis, checkTensor } from '../tensor/check';
import { scope } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';
import { permute } from './layout';

function overAxis(x: Tensor, axis: number, logarithm: boolean): Tensor {
  const op = nameOf(logarithm);
  checkTensor(op, 'x', x);
  const last = x.rank - 1;
  const normal = checkAxis(op, axis, x.rank);
  if (normal === last) return overLast(x, logarithm);
  const swapped = x.shape.map((_, i) => (i === normal ? last : i === last ? normal : i));
  return scope(() => permute(overLast(permute(x, swapped), logarithm), swapped));
}

const nameOf = (logarithm: boolean) => (logarithm ? 'log_softmax' : 'softmax');

function overLast(x: Tensor, logarithm: boolean): Tensor {
  return unaryOutput(
    nameOf(logarithm),
    [x],
    (context) => {
      const y = native().softmaxForward(x.handle, logarithm);
      context.save(y);
      return y;
    },
    ([dy], [y]) => [native().softmaxBackward(dy!, y!, logarithm)],
  );
}

/**
 * `exp(x) / sum(exp(x))` along `axis`, in float32 with the largest element subtracted.
 *
 * @param x float32 or bfloat16
 * @returns as x; along `axis` it sums to 1
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const y = softmax(tensor([0, Math.log(3)])); // [0.25, 0.75]
 */
export function softmax(x: Tensor, axis = -1): Tensor {
  return overAxis(x, axis, false);
}

/**
 * The logarithm of {@link softmax}, without its underflow.
 *
 * @example
 * const y = logSoftmax(tensor([0, 1000])); // [-1000, 0]
 */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return overAxis(x, axis, true);
}
