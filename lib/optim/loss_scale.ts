import { CodedError } from '../base/error';
import { PyFloat } from '../io';
import { allFinite, scaleInPlace } from '../ops/tensor_list';
import type { Tensor } from '../tensor/tensor';

/** A loss scale below this means that the gradients are not finite for another reason. */
const SMALLEST = 2 ** -14;

/**
 * Dynamic loss scaling (Micikevicius et al., "Mixed Precision Training", 2018): a float16 gradient below 6e-8 is zero, so
 * the loss is multiplied by a large factor before the backward pass and the gradients divided by it after. The factor
 * halves when a gradient overflowed, and that update is left out; it doubles after `growthInterval` good updates.
 *
 * @example
 * const scaler = new LossScaler();
 * backward(mul(loss, scaler.scale));
 * if (await scaler.unscale(optimizer.parameters())) optimizer.step();
 * optimizer.zeroGrad();
 */
export class LossScaler {
  /** What the loss is multiplied by; a power of two, so that it rounds nothing. */
  scale: number;
  private goodSteps = 0;
  private readonly growthInterval: number;

  constructor(options: { scale?: number; growthInterval?: number } = {}) {
    this.scale = options.scale ?? 65536;
    this.growthInterval = options.growthInterval ?? 2000;
  }

  /**
   * Divides the gradients by the scale; waits for them to know whether they are finite.
   *
   * @returns false when one is not: drop them and go on
   * @throws ERR_NOT_FINITE when no scale helps
   */
  async unscale(parameters: readonly Tensor[]): Promise<boolean> {
    const gradients = parameters.flatMap(({ grad }) => (grad ? [grad] : []));
    if (gradients.length === 0) return true;
    const flag = allFinite(gradients);
    const finite = (await flag.item()) === 1;
    flag.dispose();
    if (finite) {
      scaleInPlace(gradients, 1 / this.scale);
      if (++this.goodSteps === this.growthInterval) {
        this.goodSteps = 0;
        this.scale = Math.min(this.scale * 2, 2 ** 24);
      }
      return true;
    }
    this.goodSteps = 0;
    this.scale /= 2;
    if (this.scale < SMALLEST) {
      throw new CodedError(
        'ERR_NOT_FINITE',
        `gradients are infinite or not a number at every loss scale down to ${SMALLEST}; ` +
          'try a lower learning rate, gradient clipping, or bfloat16',
      );
    }
    return false;
  }

  /** The state with the names that PyTorch's scaler gives it. */
  stateDict(): Map<string, unknown> {
    return new Map<string, unknown>([
      ['scale', new PyFloat(this.scale)],
      ['growth_factor', new PyFloat(2)],
      ['backoff_factor', new PyFloat(0.5)],
      ['growth_interval', this.growthInterval],
      ['_growth_tracker', this.goodSteps],
    ]);
  }

  /** @param source names the file in messages. @throws ERR_CHECKPOINT_MISMATCH */
  loadStateDict(dict: unknown, source = 'the loss scale'): void {
    const [scale, good] = ['scale', '_growth_tracker'].map((key) =>
      Number(dict instanceof Map ? dict.get(key) : undefined),
    ) as [number, number];
    if (!(scale >= SMALLEST) || !Number.isInteger(good)) {
      throw new CodedError(
        'ERR_CHECKPOINT_MISMATCH',
        `${source}: 'scaler' is not the state of a loss scaler`,
      );
    }
    this.scale = scale;
    this.goodSteps = good;
  }
}
