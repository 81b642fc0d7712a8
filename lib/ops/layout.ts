import { checkArray } from '../base/check';
import { CodedError } from '../base/error';
import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkAxis, checkTensor, checkTensors } from '../tensor/check';
import { scope } from '../tensor/scope';
import { describe, type Tensor } from '../tensor/tensor';

/**
 * The tensors one after the other along `axis`. Works for every dtype, as do all functions of this file.
 *
 * @param list at least one tensor; dtypes and shapes are equal but for `axis`
 * @throws ERR_SHAPE, ERR_ARGUMENT when the list is empty
 *
 * @example
 * const y = concat([tensor([[1, 2]]), tensor([[3, 4]])], 0); // [[1, 2], [3, 4]]
 */
export function concat(list: readonly Tensor[], axis = 0): Tensor {
  checkTensors('concat', list);
  const sizes = list.map(({ shape, rank }) => shape[checkAxis('concat', axis, rank)]!);
  return unaryOutput(
    'concat',
    list,
    () =>
      native().concatenate(
        list.map((x) => x.handle),
        axis,
      ),
    ([dy], _, { needs }) => {
      let position = 0;
      return sizes.map((size, i) => {
        const start = position;
        position += size;
        return needs[i] ? native().slice(dy!, axis, start, position) : null;
      });
    },
  );
}

/**
 * The tensors along a new dimension `axis` of the result.
 *
 * @param list at least one tensor, all of one shape and dtype
 * @throws ERR_SHAPE, ERR_ARGUMENT
 *
 * @example
 * const y = stack([tensor([1, 2]), tensor([3, 4])], 1); // [[1, 3], [2, 4]]
 */
export function stack(list: readonly Tensor[], axis = 0): Tensor {
  checkTensors('stack', list);
  const at = checkAxis('stack', axis, (list[0]?.rank ?? 0) + 1);
  return scope(() =>
    concat(
      list.map((x) => reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)])),
      at,
    ),
  );
}

/**
 * Elements `start` to `end - 1` along `axis`.
 *
 * @throws ERR_SHAPE unless 0 <= start <= end <= size
 *
 * @example
 * const y = slice(tensor([[1, 2, 3], [4, 5, 6]]), 1, 0, 2); // [[1, 2], [4, 5]]
 */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  checkTensor('slice', 'x', x);
  const { shape } = x;
  return unaryOutput(
    'slice',
    [x],
    () => native().slice(x.handle, axis, start, end),
    ([dy]) => [native().sliceBackward(dy!, shape, axis, start)],
  );
}

/**
 * Reorders dimensions: dimension i of the result is dimension `axes[i]` of x.
 *
 * @throws ERR_SHAPE unless `axes` names each dimension once
 *
 * @example
 * const y = permute(zeros([2, 3, 4]), [2, 0, 1]); // shape [4, 2, 3]
 */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  checkTensor('permute', 'x', x);
  return unaryOutput(
    'permute',
    [x],
    () => native().permute(x.handle, axes),
    ([dy]) => {
      const inverse = new Array<number>(axes.length);
      axes.forEach((axis, i) => {
        inverse[axis < 0 ? axis + axes.length : axis] = i;
      });
      return [native().permute(dy!, inverse)];
    },
  );
}

/**
 * Swaps the last two dimensions.
 *
 * @throws ERR_SHAPE with fewer than two dimensions
 *
 * @example
 * const y = transpose(tensor([[1, 2], [3, 4]])); // [[1, 3], [2, 4]]
 */
export function transpose(x: Tensor): Tensor {
  checkTensor('transpose', 'x', x);
  if (x.rank < 2)
    throw new CodedError('ERR_SHAPE', `transpose: ${describe(x)} has fewer than two dimensions`);
  const leading = x.shape.slice(0, -2).map((_, i) => i);
  return permute(x, [...leading, x.rank - 1, x.rank - 2]);
}

/**
 * The same elements in another shape; nothing is copied.
 *
 * @param shape one size may be -1: it is what is left
 * @throws ERR_SHAPE when the number of elements differs
 *
 * @example
 * const y = reshape(zeros([2, 3, 4]), [2, -1]); // shape [2, 12]
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  checkTensor('reshape', 'x', x);
  checkArray('reshape', 'shape', shape);
  const before = x.shape;
  const known = shape.reduce((count, size) => (size === -1 ? count : count * size), 1);
  const target = shape.map((size) => (size === -1 && known > 0 ? x.size / known : size));
  if (
    shape.filter((size) => size === -1).length > 1 ||
    !target.every((size) => size >= 0 && Number.isInteger(size))
  ) {
    throw new CodedError('ERR_SHAPE', `reshape: ${describe(x)} does not fit [${shape.join(', ')}]`);
  }
  return unaryOutput(
    'reshape',
    [x],
    () => native().reshape(x.handle, target),
    ([dy]) => [native().reshape(dy!, before)],
  ).sharing(x);
}

/**
 * Repeats x along dimensions of size 1, and along new leading ones, until it has `shape` (NumPy broadcasting, copied).
 *
 * @throws ERR_SHAPE when x does not broadcast to `shape`
 *
 * @example
 * const y = expand(tensor([[1], [2]]), [2, 3]); // [[1, 1, 1], [2, 2, 2]]
 */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  checkTensor('expand', 'x', x);
  const { shape: before, dtype } = x;
  return unaryOutput(
    'expand',
    [x],
    () => native().expand(x.handle, shape),
    ([dy]) => [native().sumTo(dy!, before, dtype)],
  );
}
