import { checkArray, checkSwitch } from '../base/check';
import { type NativeTensor, native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkAxis, checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';
import { withTemporaries } from './temporaries';

/** Dimensions to reduce; negative ones count from the end. Default all. */
export type Axes = number | readonly number[];

type Reduction = 'sum' | 'mean' | 'max' | 'min';

function reduce(op: Reduction, x: Tensor, axes: Axes | undefined, keepDims: boolean): Tensor {
  checkTensor(op, 'x', x);
  checkSwitch(op, 'keepDims', keepDims);
  const list = typeof axes === 'number' ? [axes] : axes === undefined ? x.shape.map((_, i) => i) : axes;
  checkArray(op, 'axes', list);
  const reduced = new Set(list.map((axis) => checkAxis(op, axis, x.rank)));
  const kept = x.shape.map((size, i) => (reduced.has(i) ? 1 : size));
  const result = keepDims ? kept : x.shape.filter((_, i) => !reduced.has(i));
  const { shape, dtype, device } = x;
  return unaryOutput(
    op,
    [x],
    (context) =>
      withTemporaries((temporary) => {
        const y = temporary(native().reduce(op, x.handle, list, dtype));
        if (context.recording && (op === 'max' || op === 'min')) context.save(x.handle, native().retain(y));
        return native().reshape(y, result);
      }),
    ([dy], [savedX, savedY]) => [
      withTemporaries((temporary) => {
        const spread = temporary(native().reshape(dy!, kept));
        if (op === 'sum') return native().expand(spread, shape);
        if (op === 'mean') {
          const count = shape.reduce((n, size, i) => (reduced.has(i) ? n * size : n), 1);
          const rate = temporary(native().full([], 1 / count, 'float32', device));
          return native().expand(temporary(native().binary('mul', spread, rate)), shape);
        }
        return shareAmongEqual(spread, savedX!, savedY!, list);
      }),
    ],
  );
}

// The gradient of an extreme goes in equal parts to all elements that reach it.
function shareAmongEqual(
  dy: NativeTensor,
  x: NativeTensor,
  y: NativeTensor,
  axes: readonly number[],
): NativeTensor {
  return withTemporaries((temporary) => {
    const reached = temporary(native().binary('equal', x, y));
    const count = temporary(native().reduce('sum', reached, axes, 'float32'));
    return native().binary('mul', reached, temporary(native().binary('div', dy, count)));
  });
}

/**
 * Sum over `axes`. Sums are float32 over blocks of fixed size, so the result does not depend on the number of threads.
 *
 * @param x float32 or bfloat16
 * @param keepDims keep the reduced dimensions with size 1
 * @returns in the dtype of x
 * @throws ERR_SHAPE when an axis does not exist or is given twice, ERR_DTYPE
 *
 * @example
 * const y = sum(tensor([[1, 2], [3, 4]]), 0); // [4, 6]
 */
export function sum(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  return reduce('sum', x, axes, keepDims);
}

/**
 * Mean over `axes`, otherwise as {@link sum}. NaN over no elements.
 * @example
 * const y = mean(tensor([[1, 2], [3, 4]])); // 2.5
 */
export function mean(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  return reduce('mean', x, axes, keepDims);
}

/**
 * Largest element over `axes` (NaN when there is one). The gradient is shared equally by all elements that reach it.
 * @throws ERR_SHAPE also for the largest of no elements
 * @example
 * const y = max(tensor([[1, 5], [3, 4]]), 1); // [5, 4]
 */
export function max(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  return reduce('max', x, axes, keepDims);
}

/**
 * Smallest element over `axes`, otherwise as {@link max}.
 * @example
 * const y = min(tensor([[1, 5], [3, 4]]), 1); // [1, 3]
 */
export function min(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  return reduce('min', x, axes, keepDims);
}

/**
 * Position of the largest element along `axis`, the first where several are equal. Not differentiable.
 *
 * @param x float32 or bfloat16
 * @returns int32, without `axis`
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const y = argmax(tensor([[1, 5], [3, 2]]), 1); // [1, 0]
 */
export function argmax(x: Tensor, axis = -1): Tensor {
  checkTensor('argmax', 'x', x);
  return unaryOutput('argmax', [x], () => native().argmax(x.handle, axis), null);
}
