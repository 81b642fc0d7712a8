import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import type { MixRandom } from './random';
import type { Box } from './transforms/geometry';

/** Settings of batch mixing. */
export interface MixOptions {
  /** Number of classes, K. */
  numClasses: number;
  /** Label smoothing s: the true class gets 1 - s + s/K, the others s/K. */
  smoothing: number;
  /** Shape of the Beta(a, a) that mixup's weight comes from; 0 leaves only cutmix. */
  mixup: number;
  /** Shape of the Beta(a, a) that cutmix's area comes from; 0 leaves only mixup. */
  cutmix: number;
  /** Probability of cutmix when both are on. */
  switchProbability: number;
}

export const mixKeys: KnownOptions<MixOptions> = {
  numClasses: true,
  smoothing: true,
  mixup: true,
  cutmix: true,
  switchProbability: true,
};

/**
 * How one batch is mixed. Sample i keeps the share `lam` and takes the rest from sample `permutation[i]`: of every pixel
 * (mixup) or inside `box` (cutmix, where `lam` is the share of pixels outside the box).
 */
export type Mix =
  | { kind: 'mixup'; lam: number; permutation: number[] }
  | { kind: 'cutmix'; lam: number; permutation: number[]; box: Box };

/** Draws a batch's mix. Order of the draws: choice; mixup: weight, partners; cutmix: partners, weight, centre x, y. */
export function drawMix(
  options: MixOptions,
  batchSize: number,
  width: number,
  height: number,
  random: MixRandom,
): Mix {
  checkKnownOptions('drawMix', options, mixKeys);
  const { mixup, cutmix, switchProbability } = options;
  if (!(mixup >= 0 && cutmix >= 0 && mixup + cutmix > 0)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `mixing needs mixup and cutmix >= 0 and one of them positive, got mixup ${mixup}, cutmix ${cutmix}`,
    );
  }
  const choice = random.uniform();
  if (mixup === 0 || (cutmix > 0 && choice < switchProbability)) {
    const permutation = random.permutation(batchSize);
    const lam = random.beta(cutmix, cutmix);
    const box = cutmixBox(lam, width, height, random.integer(width), random.integer(height));
    return { kind: 'cutmix', lam: 1 - (box[2] * box[3]) / (width * height), permutation, box };
  }
  const lam = random.beta(mixup, mixup);
  return { kind: 'mixup', lam, permutation: random.permutation(batchSize) };
}

/**
 * The rectangle that cutmix replaces: sides int(side * sqrt(1 - lam)) around a centre, halves rounded down, cut at the
 * borders. It may be empty.
 */
export function cutmixBox(lam: number, width: number, height: number, centerX: number, centerY: number): Box {
  const ratio = Math.sqrt(1 - lam);
  const [left, right] = interval(centerX, Math.floor(width * ratio), width);
  const [top, bottom] = interval(centerY, Math.floor(height * ratio), height);
  return [left, top, right - left, bottom - top];
}

function interval(center: number, side: number, limit: number): [number, number] {
  const half = Math.floor(side / 2);
  return [Math.max(center - half, 0), Math.min(center + half, limit)];
}

/**
 * Smoothed one-hot targets; several labels of a sample share its probability evenly.
 * @param labels [B], each in [0, K), or a list of them per sample
 * @returns float32 [B, K], rows sum to 1
 */
export function smoothTargets(
  labels: Int32Array | readonly (readonly number[])[],
  numClasses: number,
  smoothing: number,
): Float32Array {
  const off = smoothing / numClasses;
  const targets = new Float32Array(labels.length * numClasses).fill(off);
  labels.forEach((own: number | readonly number[], row: number) => {
    const list = typeof own === 'number' ? [own] : own;
    for (const label of list) {
      if (label < 0 || label >= numClasses) {
        throw new CodedError('ERR_LABEL_RANGE', `label ${label} is outside the ${numClasses} classes`);
      }
      targets[row * numClasses + label] = (1 - smoothing) / list.length + off;
    }
  });
  return targets;
}

/** Targets of a mixed batch: lam * own + (1 - lam) * partner's. @param targets float32 [B, K] @returns a new [B, K] */
export function mixTargets(targets: Float32Array, mix: Mix): Float32Array {
  const numClasses = targets.length / mix.permutation.length;
  return targets.map((own, k) => {
    const row = Math.floor(k / numClasses);
    const partner = targets[mix.permutation[row]! * numClasses + (k % numClasses)]!;
    return Math.fround(mix.lam * own) + Math.fround((1 - mix.lam) * partner);
  });
}

/**
 * Mixes the pixels of a batch in place. It holds one sample's copy at a time and gives the event loop a turn after
 * each sample.
 * @param frames float32 [B, T, 3, H, W], contiguous
 */
export async function mixFrames(
  frames: Float32Array,
  width: number,
  height: number,
  mix: Mix,
): Promise<void> {
  const sampleSize = frames.length / mix.permutation.length;
  const sample = (i: number) => frames.subarray(i * sampleSize, (i + 1) * sampleSize);
  for (const cycle of cyclesOf(mix.permutation)) {
    // Walking along a cycle, each partner still holds its own pixels, but for the last one: the sample we began with.
    const first = sample(cycle[0]!).slice();
    for (const [k, i] of cycle.entries()) {
      const partner = k === cycle.length - 1 ? first : sample(cycle[k + 1]!);
      if (mix.kind === 'mixup') blend(sample(i), partner, mix.lam);
      else paste(sample(i), partner, width, height, mix.box);
      await yieldToEventLoop();
    }
  }
}

/** The cycles i, p(i), p(p(i)), ... of a permutation. */
function cyclesOf(permutation: readonly number[]): number[][] {
  const seen = new Set<number>();
  return permutation.flatMap((_, start) => {
    const cycle: number[] = [];
    for (let i = start; !seen.has(i); i = permutation[i]!) {
      seen.add(i);
      cycle.push(i);
    }
    return cycle.length > 0 ? [cycle] : [];
  });
}

function blend(own: Float32Array, partner: Float32Array, lam: number): void {
  const keep = Math.fround(lam);
  const take = Math.fround(1 - lam);
  for (let k = 0; k < own.length; k++) {
    own[k] = Math.fround(keep * own[k]!) + Math.fround(take * partner[k]!);
  }
}

/** @param own, @param partner [planes, H, W] */
function paste(own: Float32Array, partner: Float32Array, width: number, height: number, box: Box): void {
  const [left, top, boxWidth, boxHeight] = box;
  for (let plane = 0; plane < own.length; plane += width * height) {
    for (let y = top; y < top + boxHeight; y++) {
      const start = plane + y * width + left;
      own.set(partner.subarray(start, start + boxWidth), start);
    }
  }
}
