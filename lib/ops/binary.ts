import { type NativeTensor, native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';
import { withTemporaries } from './temporaries';

/** A derivative by one operand: a fresh handle of d(loss)/d(operand), still in the broadcast shape. */
type Slope = (dy: NativeTensor, saved: readonly (NativeTensor | null)[]) => NativeTensor;

interface Rule {
  /** What the derivatives by the operands that have one (`byA`, `byB`) read, out of the operands and the result. */
  keep: (
    a: NativeTensor,
    b: NativeTensor,
    y: NativeTensor,
    byA: boolean,
    byB: boolean,
  ) => (NativeTensor | null)[];
  slopes: readonly [byA: Slope, byB: Slope];
}

const call = (op: string, a: NativeTensor, b: NativeTensor) => native().binary(op, a, b);
const negative = (x: NativeTensor) => native().unaryForward('neg', x);
const same: Slope = (dy) => native().retain(dy);
/** dy where the first operand wins, dy / 2 where both are equal, else 0. */
const winner = (dy: NativeTensor, first: NativeTensor, second: NativeTensor) =>
  withTemporaries((temporary) => call('mul', dy, temporary(call('heaviside', first, second))));

const rules = {
  add: { keep: () => [], slopes: [same, same] },
  sub: { keep: () => [], slopes: [same, (dy) => negative(dy)] },
  mul: {
    keep: (a, b, _, byA, byB) => [byB ? a : null, byA ? b : null],
    slopes: [(dy, [, b]) => call('mul', dy, b!), (dy, [a]) => call('mul', dy, a!)],
  },
  div: {
    keep: (_, b, y, __, byB) => [b, byB ? y : null],
    slopes: [
      (dy, [b]) => call('div', dy, b!),
      (dy, [b, y]) => withTemporaries((t) => negative(t(call('mul', t(call('div', dy, b!)), y!)))),
    ],
  },
  maximum: {
    keep: (a, b) => [a, b],
    slopes: [(dy, [a, b]) => winner(dy, a!, b!), (dy, [a, b]) => winner(dy, b!, a!)],
  },
  minimum: {
    keep: (a, b) => [a, b],
    slopes: [(dy, [a, b]) => winner(dy, b!, a!), (dy, [a, b]) => winner(dy, a!, b!)],
  },
  pow: {
    keep: (a, b, y, byA, byB) => [a, byA ? b : null, byB ? y : null],
    slopes: [
      (dy, [a, b]) =>
        withTemporaries((t) => {
          const [zero, one] = [0, 1].map((value) => t(native().full([], value, 'float32', deviceOf(a!))));
          // Where b is 0 the derivative is 0, and a to the power -1 would make NaN of it where a is 0: 0 stands in for -1.
          const lowered = t(call('sub', b!, one!));
          const power = t(call('pow', a!, t(call('add', lowered, t(call('equal', b!, zero!))))));
          return call('mul', dy, t(call('mul', power, b!)));
        }),
      (dy, [a, , y]) =>
        withTemporaries((t) => call('mul', dy, t(call('mul', y!, t(native().unaryForward('log', a!)))))),
    ],
  },
} satisfies Record<string, Rule>;

function deviceOf(handle: NativeTensor): 'cpu' | 'cuda' {
  return native().describe(handle)[1] as 'cpu' | 'cuda';
}

function binary(op: keyof typeof rules, a: Tensor, b: Tensor | number): Tensor {
  checkTensor(op, 'a', a);
  if (typeof b !== 'number') checkTensor(op, 'b', b);
  const scalar = typeof b === 'number' ? native().full([], b, 'float32', a.device) : null;
  const second = typeof b === 'number' ? null : b;
  const { keep, slopes }: Rule = rules[op];
  const targets = [a, second].map((operand) => operand && { shape: operand.shape, dtype: operand.dtype });
  try {
    return unaryOutput(
      op,
      [a, second],
      (context) => {
        const right = scalar ?? second!.handle;
        const y = call(op, a.handle, right);
        if (context.recording) {
          const [byA, byB] = context.needs;
          const kept = keep(a.handle, right, y, byA!, byB!);
          context.save(
            ...kept.map((handle) => (handle && handle === scalar ? native().retain(handle) : handle)),
          );
        }
        return y;
      },
      ([dy], saved, { needs }) =>
        targets.map((target, i) => {
          if (!target || !needs[i]) return null;
          const slope = slopes[i]!;
          return withTemporaries((temporary) =>
            native().sumTo(temporary(slope(dy!, saved)), target.shape, target.dtype),
          );
        }),
    );
  } finally {
    if (scalar) native().release(scalar);
  }
}

/**
 * `a + b`, element by element, with NumPy broadcasting in both directions.
 *
 * All functions of this file take float32 and bfloat16 operands (also one of each: the result is bfloat16 as soon as one
 * is) and compute in float32. The gradient of a broadcast operand is summed back to its shape, in its dtype.
 *
 * @param b a tensor, or a number
 * @throws ERR_SHAPE when the shapes do not broadcast, ERR_DTYPE
 *
 * @example
 * const y = add(tensor([[1, 2], [3, 4]]), tensor([10, 20])); // [[11, 22], [13, 24]]
 */
export function add(a: Tensor, b: Tensor | number): Tensor {
  return binary('add', a, b);
}

/**
 * `a - b`, broadcast as {@link add}.
 * @example
 * const y = sub(tensor([5, 7]), 2); // [3, 5]
 */
export function sub(a: Tensor, b: Tensor | number): Tensor {
  return binary('sub', a, b);
}

/**
 * `a * b`, element by element, broadcast as {@link add}.
 * @example
 * const y = mul(tensor([[1], [2]]), tensor([3, 4])); // [[3, 4], [6, 8]]
 */
export function mul(a: Tensor, b: Tensor | number): Tensor {
  return binary('mul', a, b);
}

/**
 * `a / b`, broadcast as {@link add}.
 * @example
 * const y = div(tensor([1, 3]), 2); // [0.5, 1.5]
 */
export function div(a: Tensor, b: Tensor | number): Tensor {
  return binary('div', a, b);
}

/**
 * The larger of `a` and `b` (NaN when either is), broadcast as {@link add}. Where both are equal each gets half of the
 * gradient, where one is NaN neither gets any.
 * @example
 * const y = maximum(tensor([-1, 2]), 0); // [0, 2]
 */
export function maximum(a: Tensor, b: Tensor | number): Tensor {
  return binary('maximum', a, b);
}

/**
 * The smaller of `a` and `b`; otherwise as {@link maximum}.
 * @example
 * const y = minimum(tensor([-1, 2]), 0); // [-1, 0]
 */
export function minimum(a: Tensor, b: Tensor | number): Tensor {
  return binary('minimum', a, b);
}

/**
 * `a` to the power `b`, broadcast as {@link add}. The gradient by `b` needs `a > 0`.
 * @example
 * const y = pow(tensor([2, 3]), 2); // [4, 9]
 */
export function pow(a: Tensor, b: Tensor | number): Tensor {
  return binary('pow', a, b);
}
