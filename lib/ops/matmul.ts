import { checkKnownOptions, type KnownOptions } from '../base/check';
import { type NativeTensor, native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

export interface MatmulOptions {
  /** Swap the last two dimensions of a. Default false. */
  transposeA?: boolean;
  /** Swap the last two dimensions of b. Default false. */
  transposeB?: boolean;
  /** Factor on the product. Default 1. */
  alpha?: number;
}

const keys: KnownOptions<MatmulOptions> = { transposeA: true, transposeB: true, alpha: true };

/**
 * `alpha op(a) op(b)` over the last two dimensions, for every index of the leading ones. These are equal, or those of
 * one operand are all 1 or absent: that operand is shared by the whole batch. Sums are float32.
 *
 * @param a float32 or bfloat16 [..., M, K] ([..., K, M] with `transposeA`)
 * @param b as a, [..., K, N] ([..., N, K] with `transposeB`)
 * @returns [..., M, N]
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const c = matmul(tensor([[1, 2]]), tensor([[3, 4]]), { transposeB: true }); // [[11]]
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  checkTensor('matmul', 'a', a);
  checkTensor('matmul', 'b', b);
  checkKnownOptions('matmul', options, keys);
  const { transposeA = false, transposeB = false, alpha = 1 } = options;
  const [shapeA, shapeB] = [a.shape, b.shape];
  return unaryOutput(
    'matmul',
    [a, b],
    ({ needs: [byA, byB], save }) => {
      save(byB ? a.handle : null, byA ? b.handle : null);
      return native().matmulForward(a.handle, b.handle, transposeA, transposeB, alpha, false);
    },
    ([dy], [a, b], { needs }) => {
      // The gradient of an operand is a product of the other with dy; that of a transposed one comes out transposed.
      const da = (sum: boolean) =>
        transposeA
          ? native().matmulForward(b!, dy!, transposeB, true, alpha, sum)
          : native().matmulForward(dy!, b!, false, !transposeB, alpha, sum);
      const db = (sum: boolean) =>
        transposeB
          ? native().matmulForward(dy!, a!, true, transposeA, alpha, sum)
          : native().matmulForward(a!, dy!, !transposeA, false, alpha, sum);
      return [needs[0] ? gradient(shapeA, da) : null, needs[1] ? gradient(shapeB, db) : null];
    },
  );
}

// An operand without leading dimensions of its own gets the sum over the batch, in its shape.
function gradient(shape: readonly number[], product: (sumBatch: boolean) => NativeTensor): NativeTensor {
  const shared = shape.slice(0, -2).every((size) => size === 1);
  const result = product(shared);
  if (!shared || shape.length === 2) return result;
  const shaped = native().reshape(result, shape);
  native().release(result);
  return shaped;
}
