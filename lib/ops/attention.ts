import { checkKnownOptions, type KnownOptions } from '../base/check';
import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

export interface AttentionOptions {
  /** Number of heads; divides D. */
  heads: number;
  /** Query i sees keys 0 .. i only. Default false. */
  causal?: boolean;
}

const keys: KnownOptions<AttentionOptions> = { heads: true, causal: true };

/**
 * Scaled dot-product attention per head, `softmax(q kᵀ / sqrt(D / heads)) v`, with float32 logits and softmax. The
 * queries x keys matrix is never stored.
 *
 * @param q float32 or bfloat16 [N, Lq, D], or [1, Lq, D]: the same queries for every sequence
 * @param k as q, [N, Lk, D]
 * @param v as k
 * @returns [N, Lq, D]
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const y = attention(tensor([[[1, 0]]]), tensor([[[1, 0]]]), tensor([[[3, 4]]]), { heads: 1 }); // [[[3, 4]]]
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  checkTensor('attention', 'q', q);
  checkTensor('attention', 'k', k);
  checkTensor('attention', 'v', v);
  checkKnownOptions('attention', options, keys);
  const { heads, causal = false } = options;
  return unaryOutput(
    'attention',
    [q, k, v],
    (context) => {
      const [out, logSum] = native().attentionForward(q.handle, k.handle, v.handle, heads, causal);
      context.save(q.handle, k.handle, v.handle, out, logSum);
      return out;
    },
    ([dout], [q, k, v, out, logSum]) =>
      native().attentionBackward(dout!, q!, k!, v!, out!, logSum!, heads, causal),
  );
}

export interface SelfAttentionOptions extends AttentionOptions {
  /** How many rows, from the first, are queries; the others are keys only. Default all. */
  queries?: number;
}

const selfKeys: KnownOptions<SelfAttentionOptions> = { ...keys, queries: true };

/**
 * {@link attention} of sequences with themselves, from the packed projection: each row of `qkv` is a query, a key and a
 * value in that order.
 *
 * @param qkv float32 or bfloat16 [N, S, 3 D]
 * @returns [N, queries, D]
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT
 *
 * @example
 * const y = selfAttention(tensor([[[1, 0, 1, 0, 3, 4]]]), { heads: 1 }); // [[[3, 4]]]
 */
export function selfAttention(qkv: Tensor, options: SelfAttentionOptions): Tensor {
  checkTensor('self_attention', 'qkv', qkv);
  checkKnownOptions('self_attention', options, selfKeys);
  const { heads, causal = false, queries = qkv.shape[1] ?? 0 } = options;
  return unaryOutput(
    'self_attention',
    [qkv],
    (context) => {
      const [out, logSum] = native().selfAttentionForward(qkv.handle, heads, queries, causal);
      context.save(qkv.handle, out, logSum);
      return out;
    },
    ([dout], [qkv, out, logSum]) => [
      native().selfAttentionBackward(dout!, qkv!, out!, logSum!, heads, queries, causal),
    ],
  );
}
