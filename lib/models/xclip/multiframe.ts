import { type Initializer, normal } from '../../nn/init';
import { type Mode, Module } from '../../nn/module';
import { ResidualAttentionBlock } from '../../nn/transformer';
import { add, mean } from '../../ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Geometry } from './geometry';

/**
 * Multi-frame integration transformer (X-CLIP paper, section 3.3): frame features plus their positions in time go
 * through transformer blocks, the features without positions are added, and the mean over frames is the video.
 */
export class MultiframeIntegration extends Module {
  /** float32 [1, T, E] */
  readonly positional_embedding: Tensor;
  readonly resblocks: ResidualAttentionBlock[];

  constructor({ frames, embedDim, mitLayers, mitHeads }: Geometry, init: Initializer) {
    super();
    this.positional_embedding = init.vector([1, frames, embedDim], normal(0.02));
    this.resblocks = Array.from(
      { length: mitLayers },
      () => new ResidualAttentionBlock(embedDim, mitHeads, init),
    );
  }

  /** @param features [B, T, E]. @returns [B, E] */
  forward(features: Tensor, mode: Mode): Tensor {
    return scope(() => {
      let x = add(features, this.positional_embedding);
      for (const [i, block] of this.resblocks.entries()) {
        x = block.forward(x);
        mode.trace?.(`mit.block${i}.out`, x);
      }
      const video = mean(add(x, features), 1);
      mode.trace?.('mit.out', video);
      return video;
    });
  }
}
