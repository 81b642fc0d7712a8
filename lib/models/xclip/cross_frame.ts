import { streamOf } from '../../base/philox';
import type { Initializer } from '../../nn/init';
import { LayerNorm } from '../../nn/layer_norm';
import { Linear } from '../../nn/linear';
import { type Mode, Module } from '../../nn/module';
import { MultiheadAttention } from '../../nn/multihead_attention';
import { Mlp } from '../../nn/transformer';
import { add, dropPath, reshape, slice } from '../../ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';

/** Where a block stands and how often its branches are dropped. */
export interface CrossFrameOptions {
  layer: number;
  /** T */
  frames: number;
  /** Probability of dropping a branch of a video in training (Huang et al., 2016). */
  dropPathRate: number;
}

/**
 * Cross-frame attention block (X-CLIP paper, section 3.3 "Cross-frame communication transformer"). Every frame sends a
 * message made from its class token; the messages of a video attend to one another, and each joins its frame's tokens
 * as one more key and value. The residual stream [B T, L, D] never holds the message.
 */
export class CrossFrameBlock extends Module {
  readonly message_fc: Linear;
  readonly message_ln: LayerNorm;
  readonly message_attn: MultiheadAttention;
  readonly attn: MultiheadAttention;
  readonly ln_1: LayerNorm;
  readonly mlp: Mlp;
  readonly ln_2: LayerNorm;

  constructor(
    width: number,
    heads: number,
    private readonly options: CrossFrameOptions,
    init: Initializer,
  ) {
    super();
    this.message_fc = new Linear(width, width, init);
    this.message_ln = new LayerNorm(width, init);
    this.message_attn = new MultiheadAttention(width, heads, init);
    this.attn = new MultiheadAttention(width, heads, init);
    this.ln_1 = new LayerNorm(width, init);
    this.mlp = new Mlp(width, init);
    this.ln_2 = new LayerNorm(width, init);
  }

  /** @param x [B T, L, D], class token first. @returns as x */
  forward(x: Tensor, mode: Mode): Tensor {
    const { layer, frames } = this.options;
    const [sequences, length, width] = x.shape as [number, number, number];
    const samples = sequences / frames;
    return scope(() => {
      const classToken = reshape(slice(x, 1, 0, 1), [samples, frames, width]);
      const sent = this.message_fc.forward(classToken);
      mode.trace?.(`vision.block${layer}.message_before`, sent);
      const received = this.residual(sent, 0, samples, mode, (residual) =>
        this.message_attn.forward(this.message_ln.forward(sent), { residual }),
      );
      mode.trace?.(`vision.block${layer}.message_after`, received);
      const mixed = this.residual(x, 1, samples, mode, (residual) => {
        const tokens = this.ln_1.forward(x, { append: reshape(received, [sequences, width]) });
        return this.attn.forward(tokens, { queries: length, residual });
      });
      return this.residual(mixed, 2, samples, mode, (residual) =>
        this.mlp.forward(this.ln_2.forward(mixed), { residual }),
      );
    });
  }

  // x + branch, per video without the branch at the drop rate; the addition is part of the branch's last product
  // when nothing can be dropped.
  private residual(
    x: Tensor,
    branch: number,
    samples: number,
    mode: Mode,
    body: (residual: Tensor | null) => Tensor,
  ): Tensor {
    const rate = mode.training ? this.options.dropPathRate : 0;
    if (rate === 0) return scope(() => body(x));
    const stream = streamOf(mode.step, 3 * this.options.layer + branch);
    const draw = { rate, seed: mode.seed, stream, offset: mode.stream, samples };
    return scope(() => add(x, dropPath(body(null), draw)));
  }
}
