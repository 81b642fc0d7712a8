import { named } from '../base/check';
import { native } from '../native/load';
import { checkTensor, checkTensors } from '../tensor/check';
import { Tensor } from '../tensor/tensor';

/**
 * Functions of a whole list of tensors in one queued task, for optimizers. They are not recorded and have no derivative.
 *
 * This one is the Euclidean norm of all elements together; squares are added in float64, in order.
 *
 * @param list float32 or bfloat16 tensors, at least one
 * @returns float32 scalar
 * @throws ERR_ARGUMENT, ERR_DTYPE
 *
 * @example
 * const norm = gradNorm([tensor([3]), tensor([4])]); // 5
 */
export function gradNorm(list: readonly Tensor[]): Tensor {
  checkTensors('gradNorm', list);
  return named('gradNorm', () => new Tensor(native().gradNorm(list.map((x) => x.handle))));
}

/**
 * Multiplies every element in place.
 *
 * @param list float32 or bfloat16 tensors, at least one
 * @param factor a float32 tensor of one element, or a number
 * @throws ERR_SHAPE, ERR_ARGUMENT, ERR_DTYPE
 *
 * @example
 * const x = tensor([1, 2]);
 * scaleInPlace([x], 3); // x is [3, 6]
 */
export function scaleInPlace(list: readonly Tensor[], factor: Tensor | number): void {
  checkTensors('scaleInPlace', list);
  if (typeof factor !== 'number') checkTensor('scaleInPlace', 'factor', factor);
  if (list.length === 0) return;
  const number = typeof factor === 'number' ? native().full([], factor, 'float32', list[0]!.device) : null;
  try {
    named('scaleInPlace', () =>
      native().scaleInPlace(
        list.map((x) => x.handle),
        number ?? (factor as Tensor).handle,
      ),
    );
  } finally {
    if (number) native().release(number);
  }
  for (const x of list) x.version++;
}

/**
 * Whether no element is NaN or infinite.
 *
 * @param list float32 or bfloat16 tensors, at least one
 * @returns int32 scalar, 1 or 0
 * @throws ERR_ARGUMENT, ERR_DTYPE
 *
 * @example
 * const ok = allFinite([tensor([1, Number.POSITIVE_INFINITY])]); // 0
 */
export function allFinite(list: readonly Tensor[]): Tensor {
  checkTensors('allFinite', list);
  return named('allFinite', () => new Tensor(native().allFinite(list.map((x) => x.handle))));
}
