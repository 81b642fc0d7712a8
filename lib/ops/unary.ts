import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

/** The functions and what their derivatives are computed from besides dy. */
const savedBy = {
  neg: null,
  exp: 'result',
  log: 'operand',
  sqrt: 'result',
  rsqrt: 'result',
  abs: 'operand',
  square: 'operand',
  tanh: 'operand',
  sigmoid: 'operand',
  relu: 'result',
  gelu: 'operand',
  quick_gelu: 'operand',
  sin: 'operand',
  cos: 'operand',
} as const;

function unary(op: keyof typeof savedBy, x: Tensor): Tensor {
  checkTensor(op, 'x', x);
  return unaryOutput(
    op,
    [x],
    (context) => {
      const y = native().unaryForward(op, x.handle);
      const saved = savedBy[op];
      context.save(saved && { operand: x.handle, result: y }[saved]);
      return y;
    },
    ([dy], [saved]) => [saved ? native().unaryBackward(op, dy!, saved) : native().unaryForward('neg', dy!)],
  );
}

/**
 * `-x`. All functions of this file go element by element over float32 or bfloat16 of any shape, compute in float32, and
 * return the dtype and shape of `x`.
 *
 * @throws ERR_DTYPE
 *
 * @example
 * const y = neg(tensor([1, -2])); // [-1, 2]
 */
export function neg(x: Tensor): Tensor {
  return unary('neg', x);
}

/**
 * e to the power x.
 * @example
 * const y = exp(tensor([0, 1])); // [1, 2.718]
 */
export function exp(x: Tensor): Tensor {
  return unary('exp', x);
}

/**
 * Natural logarithm; -Infinity at 0, NaN below.
 * @example
 * const y = log(tensor([1, 10])); // [0, 2.303]
 */
export function log(x: Tensor): Tensor {
  return unary('log', x);
}

/**
 * Square root; NaN below 0.
 * @example
 * const y = sqrt(tensor([4, 9])); // [2, 3]
 */
export function sqrt(x: Tensor): Tensor {
  return unary('sqrt', x);
}

/**
 * `1 / sqrt(x)`.
 * @example
 * const y = rsqrt(tensor([4, 16])); // [0.5, 0.25]
 */
export function rsqrt(x: Tensor): Tensor {
  return unary('rsqrt', x);
}

/**
 * Absolute value; the derivative at 0 is 0.
 * @example
 * const y = abs(tensor([-3, 2])); // [3, 2]
 */
export function abs(x: Tensor): Tensor {
  return unary('abs', x);
}

/**
 * `x * x`.
 * @example
 * const y = square(tensor([-3, 2])); // [9, 4]
 */
export function square(x: Tensor): Tensor {
  return unary('square', x);
}

/**
 * Hyperbolic tangent.
 * @example
 * const y = tanh(tensor([0, 1])); // [0, 0.762]
 */
export function tanh(x: Tensor): Tensor {
  return unary('tanh', x);
}

/**
 * `1 / (1 + exp(-x))`.
 * @example
 * const y = sigmoid(tensor([0, 2])); // [0.5, 0.881]
 */
export function sigmoid(x: Tensor): Tensor {
  return unary('sigmoid', x);
}

/**
 * `x` where positive, else 0 (derivative 0 at 0).
 * @example
 * const y = relu(tensor([-1, 2])); // [0, 2]
 */
export function relu(x: Tensor): Tensor {
  return unary('relu', x);
}

/**
 * `x` times the normal distribution function of `x` (Hendrycks and Gimpel, 2016), the exact form.
 * @example
 * const y = gelu(tensor([-1, 1])); // [-0.159, 0.841]
 */
export function gelu(x: Tensor): Tensor {
  return unary('gelu', x);
}

/**
 * `x * sigmoid(1.702 x)`, the approximation of {@link gelu} that image-text models use. `linear` has it built in.
 * @example
 * const y = quickGelu(tensor([-1, 1])); // [-0.154, 0.846]
 */
export function quickGelu(x: Tensor): Tensor {
  return unary('quick_gelu', x);
}

/**
 * Sine of radians.
 * @example
 * const y = sin(tensor([0, Math.PI / 2])); // [0, 1]
 */
export function sin(x: Tensor): Tensor {
  return unary('sin', x);
}

/**
 * Cosine of radians.
 * @example
 * const y = cos(tensor([0, Math.PI])); // [1, -1]
 */
export function cos(x: Tensor): Tensor {
  return unary('cos', x);
}
