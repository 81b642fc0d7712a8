import { Philox, streamOf } from '../base/philox';

/**
 * The draws that sampling and transforms need. {@link Philox} is the one source in use; a recorded list of draws
 * replays somebody else's run.
 */
export type Random = Pick<Philox, 'uniform' | 'integer' | 'permutation'>;

/** What mixing needs in addition. */
export type MixRandom = Random & Pick<Philox, 'beta'>;

/** One family of streams per use, so that no two uses ever share their numbers. */
const Purpose = { sample: 0, order: 1, mix: 2 } as const;
const purposes = 4;

function philox(purpose: keyof typeof Purpose, seed: number, epoch: number, minor: number): Philox {
  return new Philox(seed, streamOf(epoch * purposes + Purpose[purpose], minor));
}

/** Generator of one sample: a function of (seed, epoch, index in the data set), whoever loads it and when. */
export function sampleRandom(seed: number, epoch: number, index: number): Philox {
  return philox('sample', seed, epoch, index);
}

/** Generator of an epoch's sample order, the same on every rank. */
export function orderRandom(seed: number, epoch: number): Philox {
  return philox('order', seed, epoch, 0);
}

/** Generator of one batch's mixing; `batch` counts over all ranks: `step * worldSize + rank`. */
export function mixRandom(seed: number, epoch: number, batch: number): Philox {
  return philox('mix', seed, epoch, batch);
}

/** Uniform in [low, high). */
export function uniformIn(random: Random, low: number, high: number): number {
  return low + (high - low) * random.uniform();
}
