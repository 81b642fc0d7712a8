import { type LayerNormOptions, layerNorm } from '../ops';
import type { Tensor } from '../tensor/tensor';
import { checkLayer } from './check';
import { type Initializer, ones, zeros } from './init';
import { Module } from './module';

/** Layer normalisation over the last dimension, of size `width`. */
export class LayerNorm extends Module {
  /** float32 [width] */
  readonly weight: Tensor;
  /** float32 [width] */
  readonly bias: Tensor;

  constructor(width: number, init: Initializer) {
    super();
    checkLayer('LayerNorm', { width }, init);
    this.weight = init.vector([width], ones);
    this.bias = init.vector([width], zeros);
  }

  /** @param x [..., width]. @returns as x, or with one more row per sequence (`append`) */
  forward(x: Tensor, options: LayerNormOptions = {}): Tensor {
    return layerNorm(x, this.weight, this.bias, options);
  }
}
