import { constant, type Initializer } from '../../nn/init';
import { LayerNorm } from '../../nn/layer_norm';
import { Linear } from '../../nn/linear';
import { type Mode, Module } from '../../nn/module';
import { attention, expand, mlp, mul } from '../../ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { inDtype } from '../dtype';
import type { Geometry } from './geometry';

/** Attention of texts (queries) to the patches of a video (keys and values). */
class CrossAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly proj: Linear;

  constructor(
    width: number,
    private readonly heads: number,
    init: Initializer,
  ) {
    super();
    this.q_proj = new Linear(width, width, init, { bias: false });
    this.k_proj = new Linear(width, width, init, { bias: false });
    this.v_proj = new Linear(width, width, init, { bias: false });
    this.proj = new Linear(width, width, init);
  }

  /** @param text [1 or B, K, E], @param patches [B, N, E], @param residual [B, K, E]. @returns [B, K, E] */
  forward(text: Tensor, patches: Tensor, residual: Tensor): Tensor {
    return scope(() => {
      const [q, k, v] = [
        this.q_proj.forward(text),
        this.k_proj.forward(patches),
        this.v_proj.forward(patches),
      ];
      return this.proj.forward(attention(q, k, v, { heads: this.heads }), { residual });
    });
  }
}

/** Two linear layers with QuickGELU between them, numbered as in the sequence that the reference keeps them in. */
class PromptMlp extends Module {
  readonly 0: Linear;
  readonly 3: Linear;

  constructor(width: number, init: Initializer) {
    super();
    this[0] = new Linear(width, 4 * width, init);
    this[3] = new Linear(4 * width, width, init);
  }

  forward(x: Tensor, residual: Tensor): Tensor {
    return mlp(x, this[0], this[3], { residual });
  }
}

class PromptLayer extends Module {
  readonly cross_attn: CrossAttention;
  readonly norm1: LayerNorm;
  readonly norm3: LayerNorm;
  readonly mlp: PromptMlp;

  constructor(width: number, heads: number, init: Initializer) {
    super();
    this.cross_attn = new CrossAttention(width, heads, init);
    this.norm1 = new LayerNorm(width, init);
    this.norm3 = new LayerNorm(width, init);
    this.mlp = new PromptMlp(width, init);
  }

  /** @param text [1 or B, K, E], @param patches [B, N, E]. @returns [B, K, E] */
  forward(text: Tensor, patches: Tensor): Tensor {
    return scope(() => {
      const [, classes, width] = text.shape as [number, number, number];
      const shape = [patches.dim(0), classes, width];
      const residual = text.dim(0) === shape[0] ? text : expand(text, shape);
      const x = this.cross_attn.forward(this.norm1.forward(text), patches, residual);
      return this.mlp.forward(this.norm3.forward(x), x);
    });
  }
}

/**
 * Video-specific prompting (X-CLIP paper, section 3.4): texts attend to the patches of a video, and what they find is
 * added to them with weight alpha.
 */
export class PromptGenerator extends Module {
  /** float32 [E] */
  readonly alpha: Tensor;
  readonly norm: LayerNorm;
  readonly decoder: PromptLayer[];

  constructor({ embedDim, promptLayers, promptHeads, promptAlpha }: Geometry, init: Initializer) {
    super();
    this.alpha = init.vector([embedDim], constant(promptAlpha));
    this.norm = new LayerNorm(embedDim, init);
    this.decoder = Array.from({ length: promptLayers }, () => new PromptLayer(embedDim, promptHeads, init));
  }

  /**
   * @param text [1, K, E]: the first layer's queries, which do not depend on the video, are computed once for all
   * @param patches [B, N, E]
   * @returns what to add to the texts, float32 [B, K, E]
   */
  forward(text: Tensor, patches: Tensor, mode: Mode): Tensor {
    return scope(() => {
      const visual = this.norm.forward(patches);
      mode.trace?.('prompts.norm', visual);
      let x = text;
      for (const [i, layer] of this.decoder.entries()) {
        x = layer.forward(x, visual);
        mode.trace?.(`prompts.layer${i}.out`, x);
      }
      const prompt = mul(inDtype(x, 'float32'), this.alpha);
      mode.trace?.('prompts.out', prompt);
      return prompt;
    });
  }
}
