import { fanInUniform, type Initializer, normal } from '../../nn/init';
import { LayerNorm } from '../../nn/layer_norm';
import { type Mode, Module } from '../../nn/module';
import { add, concat, expand, matmul, patchEmbed, reshape, slice } from '../../ops';
import { checkpoint } from '../../tensor/autograd';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { type ComputeDtype, inDtype } from '../dtype';
import { CrossFrameBlock } from './cross_frame';
import type { Geometry } from './geometry';

class PatchProjection extends Module {
  /** [D, 3, patch, patch] */
  readonly weight: Tensor;

  constructor(width: number, patch: number, init: Initializer) {
    super();
    this.weight = init.weight([width, 3, patch, patch], fanInUniform);
  }
}

class CrossFrameTransformer extends Module {
  readonly resblocks: CrossFrameBlock[];

  constructor(geometry: Geometry, dropPathRate: number, init: Initializer) {
    super();
    const { visionWidth, visionLayers, visionHeads, frames } = geometry;
    this.resblocks = Array.from({ length: visionLayers }, (_, layer) => {
      // Stochastic depth rises linearly from 0 at the first block to the rate at the last.
      const rate = visionLayers > 1 ? (dropPathRate * layer) / (visionLayers - 1) : 0;
      return new CrossFrameBlock(visionWidth, visionHeads, { layer, frames, dropPathRate: rate }, init);
    });
  }
}

/**
 * Cross-frame communication transformer (X-CLIP paper, section 3.3): a vision transformer (Dosovitskiy et al., 2021) over
 * the frames of a video whose blocks exchange messages between frames.
 */
export class CrossFrameVision extends Module {
  /** float32 [D] */
  readonly class_embedding: Tensor;
  /** float32 [1 + N, D] */
  readonly positional_embedding: Tensor;
  /** [D, E] */
  readonly proj: Tensor;
  readonly conv1: PatchProjection;
  readonly ln_pre: LayerNorm;
  readonly transformer: CrossFrameTransformer;
  readonly ln_post: LayerNorm;

  constructor(
    private readonly geometry: Geometry,
    dropPathRate: number,
    init: Initializer,
  ) {
    super();
    const { visionWidth: width, patch, imageSize, embedDim } = geometry;
    const scale = normal(width ** -0.5);
    this.class_embedding = init.vector([width], scale);
    this.positional_embedding = init.vector([(imageSize / patch) ** 2 + 1, width], scale);
    this.proj = init.weight([width, embedDim], scale);
    this.conv1 = new PatchProjection(width, patch, init);
    this.ln_pre = new LayerNorm(width, init);
    this.transformer = new CrossFrameTransformer(geometry, dropPathRate, init);
    this.ln_post = new LayerNorm(width, init);
  }

  /**
   * @param frames float32 [B, T, 3, H, W]
   * @returns class features [B, T, E] and patch tokens [B T, N, D], in `dtype`
   */
  forward(frames: Tensor, dtype: ComputeDtype, mode: Mode): { classes: Tensor; patches: Tensor } {
    return scope(() => {
      const [samples, count, ...image] = frames.shape as [number, number, number, number, number];
      let x = this.embed(reshape(frames, [samples * count, ...image]), dtype);
      mode.trace?.('vision.ln_pre', x);
      for (const [layer, block] of this.transformer.resblocks.entries()) {
        const input = x;
        // An input without history would hide the block's own parameters from the tape.
        const recompute = mode.checkpoint && input.requiresGrad;
        x = recompute ? checkpoint((y) => block.forward(y, mode), input) : block.forward(input, mode);
        mode.trace?.(`vision.block${layer}.out`, x);
        // What the backward pass needs is held by the tape.
        input.dispose();
      }
      const token = this.ln_post.forward(slice(x, 1, 0, 1));
      mode.trace?.('vision.ln_post', token);
      const classes = matmul(
        reshape(token, [samples, count, this.geometry.visionWidth]),
        inDtype(this.proj, dtype),
      );
      mode.trace?.('vision.cls', classes);
      return { classes, patches: slice(x, 1, 1, x.dim(1)) };
    });
  }

  // images [B T, 3, H, W] to tokens [B T, 1 + N, D], class token first.
  private embed(images: Tensor, dtype: ComputeDtype): Tensor {
    return scope(() => {
      const width = this.geometry.visionWidth;
      const patches = patchEmbed(inDtype(images, dtype), this.conv1.weight);
      const classToken = expand(inDtype(this.class_embedding, dtype), [images.dim(0), 1, width]);
      return this.ln_pre.forward(add(concat([classToken, patches], 1), this.positional_embedding));
    });
  }
}
