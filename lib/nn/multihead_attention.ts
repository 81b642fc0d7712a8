import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { linear, selfAttention } from '../ops';
import { scope } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';
import { checkLayer } from './check';
import { type Initializer, xavierUniform, zeros } from './init';
import { Linear } from './linear';
import { Module } from './module';

export interface SelfAttentionOptions {
  /** Row i sees rows 0..i only. Default false. */
  causal?: boolean;
  /** Only the first so many rows ask (default: all); the others are keys and values alone. */
  queries?: number;
  /** Added to the result, [N, queries, D]. */
  residual?: Tensor | null;
}

const keys: KnownOptions<SelfAttentionOptions> = { causal: true, queries: true, residual: true };

/**
 * Multi-head self attention (Vaswani et al., 2017): `softmax(Q Kᵀ / sqrt(D / heads)) V` per head between a joint input
 * and an output projection.
 */
export class MultiheadAttention extends Module {
  /** [3 D, D]; rows of queries, then keys, then values */
  readonly in_proj_weight: Tensor;
  /** float32 [3 D] */
  readonly in_proj_bias: Tensor;
  readonly out_proj: Linear;

  /** @param width D, a multiple of `heads`. @throws ERR_ARGUMENT */
  constructor(
    width: number,
    readonly heads: number,
    init: Initializer,
  ) {
    super();
    checkLayer('MultiheadAttention', { width, heads }, init);
    if (width % heads !== 0) {
      throw new CodedError(
        'ERR_ARGUMENT',
        `MultiheadAttention: width must be a multiple of heads, got ${width} and ${heads}`,
      );
    }
    this.in_proj_weight = init.weight([3 * width, width], xavierUniform);
    this.in_proj_bias = init.vector([3 * width], zeros);
    this.out_proj = new Linear(width, width, init);
  }

  /** @param x float32 or bfloat16 [N, S, D]. @returns [N, queries, D] */
  forward(x: Tensor, options: SelfAttentionOptions = {}): Tensor {
    return scope(() => this.out_proj.forward(this.mix(x, options), { residual: options.residual }));
  }

  /** The heads' outputs side by side, before the output projection. */
  mix(x: Tensor, options: SelfAttentionOptions = {}): Tensor {
    checkKnownOptions('MultiheadAttention', options, keys);
    const { causal, queries } = options;
    return scope(() => {
      const qkv = linear(x, this.in_proj_weight, this.in_proj_bias);
      return selfAttention(qkv, { heads: this.heads, causal, queries });
    });
  }
}
