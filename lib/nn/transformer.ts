import { checkKnownOptions, checkSize } from '../base/check';
import { mlp } from '../ops';
import { scope } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';
import { checkLayer } from './check';
import type { Initializer } from './init';
import { LayerNorm } from './layer_norm';
import { Linear } from './linear';
import { Module } from './module';
import { MultiheadAttention } from './multihead_attention';

/** Two linear layers with QuickGELU between them: `c_proj(quickGelu(c_fc(x)))`. */
export class Mlp extends Module {
  readonly c_fc: Linear;
  readonly c_proj: Linear;

  constructor(width: number, init: Initializer, hidden = 4 * width) {
    super();
    checkLayer('Mlp', { width, hidden }, init);
    this.c_fc = new Linear(width, hidden, init);
    this.c_proj = new Linear(hidden, width, init);
  }

  /** @param x [..., width]; `residual` is added to the result. */
  forward(x: Tensor, options: { residual?: Tensor | null } = {}): Tensor {
    return mlp(x, this.c_fc, this.c_proj, options);
  }
}

/** Pre-norm transformer block: `x + attn(ln_1(x))`, then `x + mlp(ln_2(x))`. */
export class ResidualAttentionBlock extends Module {
  readonly attn: MultiheadAttention;
  readonly ln_1: LayerNorm;
  readonly mlp: Mlp;
  readonly ln_2: LayerNorm;

  constructor(width: number, heads: number, init: Initializer) {
    super();
    checkLayer('ResidualAttentionBlock', { width, heads }, init);
    this.attn = new MultiheadAttention(width, heads, init);
    this.ln_1 = new LayerNorm(width, init);
    this.mlp = new Mlp(width, init);
    this.ln_2 = new LayerNorm(width, init);
  }

  /**
   * @param x [N, L, width]
   * @param options.causal row i attends to rows 0..i only. Default false.
   * @param options.select picks the rows that are read later: it is applied to the attention's result and to the
   *   residual, so that everything after the attention is computed for those rows alone. Default: all rows.
   */
  forward(x: Tensor, options: { causal?: boolean; select?: (x: Tensor) => Tensor } = {}): Tensor {
    checkKnownOptions('ResidualAttentionBlock', options, { causal: true, select: true });
    return scope(() => {
      const select = options.select ?? ((all: Tensor) => all);
      const mixed = this.attn.mix(this.ln_1.forward(x), { causal: options.causal });
      const y = this.attn.out_proj.forward(select(mixed), { residual: select(x) });
      return this.mlp.forward(this.ln_2.forward(y), { residual: y });
    });
  }
}

/** Blocks one after the other. */
export class Transformer extends Module {
  readonly resblocks: ResidualAttentionBlock[];

  constructor(width: number, layers: number, heads: number, init: Initializer) {
    super();
    checkLayer('Transformer', { width, heads }, init);
    checkSize('Transformer', 'layers', layers, 0);
    this.resblocks = Array.from({ length: layers }, () => new ResidualAttentionBlock(width, heads, init));
  }
}
