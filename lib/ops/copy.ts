import { checkKnownOptions, named } from '../base/check';
import { CodedError } from '../base/error';
import { type DType, native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import {
  checkInteger,
  resolveDevice,
  Tensor,
  type TensorOptions,
  tensor,
  tensorKeys,
} from '../tensor/tensor';

const floating = new Set<DType>(['float32', 'bfloat16', 'float16']);

/**
 * The elements in another dtype. Floats become integers toward zero; what lies outside of an integer's range becomes the
 * nearest end of that, NaN becomes 0. Differentiable between floating dtypes: the gradient is cast back.
 *
 * @throws ERR_NO_GRADIENT when differentiated through an integer dtype
 *
 * @example
 * const y = cast(tensor([1.5, -1.5]), 'int32'); // [1, -1]
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  checkTensor('cast', 'x', x);
  const { dtype: before } = x;
  return unaryOutput(
    'cast',
    [x],
    () => (dtype === before ? native().retain(x.handle) : native().cast(x.handle, dtype)),
    floating.has(before) && floating.has(dtype) ? ([dy]) => [native().cast(dy!, before)] : null,
  );
}

/**
 * A tensor with every element equal to `value`.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_DEVICE, ERR_ARGUMENT for a value that an integer dtype does not hold
 *
 * @example
 * const y = full([2, 2], 0.5); // [[0.5, 0.5], [0.5, 0.5]]
 */
export function full(shape: readonly number[], value: number, options: TensorOptions = {}): Tensor {
  return filled('full', shape, value, options);
}

/**
 * {@link full} of 0.
 * @example
 * const y = zeros([2]); // [0, 0]
 */
export function zeros(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return filled('zeros', shape, 0, options);
}

/**
 * {@link full} of 1.
 * @example
 * const y = ones([2]); // [1, 1]
 */
export function ones(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return filled('ones', shape, 1, options);
}

/**
 * The numbers `start`, `start + 1`, … below `end`.
 *
 * @returns float32 unless `options.dtype` says otherwise
 * @throws ERR_ARGUMENT for bounds that are not finite, and for numbers that an integer dtype does not hold
 *
 * @example
 * const y = arange(2, 5); // [2, 3, 4]
 */
export function arange(start: number, end: number, options: TensorOptions = {}): Tensor {
  checkBound('start', start);
  checkBound('end', end);
  checkKnownOptions('arange', options, tensorKeys);
  const length = Math.max(0, Math.ceil(end - start));
  if (length > LONGEST_RANGE)
    throw new CodedError(
      'ERR_OUT_OF_MEMORY',
      `arange: ${length} elements are too many, from ${start} to ${end}`,
    );
  const values = Array.from({ length }, (_, i) => start + i);
  return named('arange', () => tensor(values, [length], options));
}

function filled(op: string, shape: readonly number[], value: number, options: TensorOptions): Tensor {
  checkKnownOptions(op, options, tensorKeys);
  const { dtype = 'float32', device, requiresGrad = false } = options;
  return named(op, () => {
    checkInteger(dtype, value);
    const result = new Tensor(native().full(shape, value, dtype, resolveDevice(device)));
    result.requiresGrad = requiresGrad;
    return result;
  });
}

/** Elements that an array of JavaScript holds. */
const LONGEST_RANGE = 2 ** 32 - 1;

function checkBound(parameter: string, value: number): void {
  if (Number.isFinite(value)) return;
  throw new CodedError('ERR_ARGUMENT', `arange: ${parameter} must be a finite number, got ${value}`);
}
