import { checkKnownOptions } from '../base/check';
import { type LinearOptions, linear } from '../ops';
import type { Tensor } from '../tensor/tensor';
import { checkLayer } from './check';
import { fanInUniform, type Initializer, uniform } from './init';
import { Module } from './module';

/** `y = x Wᵀ + b` over the last dimension, with the activation and the residual of {@link linear}. */
export class Linear extends Module {
  /** [outputs, inputs] */
  readonly weight: Tensor;
  /** float32 [outputs] */
  readonly bias: Tensor | null;

  constructor(inputs: number, outputs: number, init: Initializer, options: { bias?: boolean } = {}) {
    super();
    checkLayer('Linear', { inputs, outputs }, init);
    checkKnownOptions('Linear', options, { bias: true });
    this.weight = init.weight([outputs, inputs], fanInUniform);
    this.bias = options.bias === false ? null : init.vector([outputs], uniform(1 / Math.sqrt(inputs)));
  }

  /** @param x float32 or bfloat16 [..., inputs]. @returns [..., outputs] */
  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    return linear(x, this.weight, this.bias, options);
  }
}
