import { embedding } from '../ops';
import type { Tensor } from '../tensor/tensor';
import { checkLayer } from './check';
import { type Initializer, normal } from './init';
import { Module } from './module';

/** A table of `count` learnt vectors of `width`. */
export class Embedding extends Module {
  /** [count, width] */
  readonly weight: Tensor;

  constructor(count: number, width: number, init: Initializer) {
    super();
    checkLayer('Embedding', { count, width }, init);
    this.weight = init.weight([count, width], normal(1));
  }

  /** @param ids int32 or int64 [...]. @returns [..., width]. @throws ERR_INDEX_RANGE (when read) */
  forward(ids: Tensor): Tensor {
    return embedding(ids, this.weight);
  }
}
