import { checkKnownOptions, checkNumber, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { PyFloat } from '../io';
import { add, cast, div, full, maximum, minimum, mul, relu, sub } from '../ops';
import { allFinite, scaleInPlace } from '../ops/tensor_list';
import { noGrad } from '../tensor/autograd';
import { type Disposable, keep, scope } from '../tensor/scope';
import { type Device, resolveDevice, type Tensor, tensor } from '../tensor/tensor';

/** A loss scale below this means that the gradients are not finite for another reason. */
const SMALLEST = 2 ** -14;
/** The scale does not grow beyond this; it may start there, and fall. */
const LARGEST = 2 ** 24;
/** The largest power of two that float32 holds. */
const LARGEST_FLOAT = 2 ** 127;

export interface LossScalerOptions {
  /** At the start; a power of two from 2^-14 to 2^127 (default 65536). */
  scale?: number;
  /** Good updates in a row after which the scale doubles (default 2000). */
  growthInterval?: number;
  device?: Device;
}

const keys: KnownOptions<LossScalerOptions> = { scale: true, growthInterval: true, device: true };

/**
 * Dynamic loss scaling (Micikevicius et al., "Mixed Precision Training", 2018): a float16 gradient below 6e-8 is zero, so
 * the loss is multiplied by a large factor before the backward pass and the gradients divided by it after. The factor
 * halves when a gradient overflowed, and that update is left out; it doubles after `growthInterval` good updates. All of
 * it is decided on the device: nothing waits, and recorded work can be replayed.
 *
 * @example
 * const scaler = new LossScaler();
 * backward(mul(loss, scaler.scale));
 * const finite = scaler.unscale(optimizer.parameters());
 * optimizer.step({ when: finite });
 * optimizer.zeroGrad();
 * finite.dispose();
 */
export class LossScaler implements Disposable {
  /** What the loss is multiplied by, float32 []; a power of two, so that it rounds nothing. */
  readonly scale: Tensor;
  /** Good updates since the scale last changed, float32 []. */
  private readonly good: Tensor;
  private readonly growthInterval: number;

  /** @throws ERR_ARGUMENT, ERR_DEVICE */
  constructor(options: LossScalerOptions = {}) {
    checkKnownOptions('LossScaler', options, keys);
    const { scale = 65536, growthInterval = 2000, device } = options;
    checkNumber('LossScaler', 'scale', scale);
    if (!Number.isInteger(Math.log2(scale)) || scale < SMALLEST || scale > LARGEST_FLOAT) {
      throw new CodedError(
        'ERR_ARGUMENT',
        `LossScaler: scale must be a power of two from 2^-14 to 2^127, got ${scale}`,
      );
    }
    if (!Number.isInteger(growthInterval) || growthInterval < 1) {
      throw new CodedError(
        'ERR_ARGUMENT',
        `LossScaler: growthInterval must be a whole number of at least 1, got ${growthInterval}`,
      );
    }
    this.growthInterval = growthInterval;
    this.scale = keep(full([], scale, { device: resolveDevice(device) }));
    this.good = keep(full([], 0, { device: this.scale.device }));
  }

  /**
   * Divides the gradients by the scale, and changes the scale by whether they are finite.
   *
   * @param also further tensors that must be finite for the update to be made
   * @returns int32 [], 1 when all are finite, else 0: for `AdamW.step`. The gradients are of no use where it is 0
   */
  unscale(parameters: readonly Tensor[], also: readonly Tensor[] = []): Tensor {
    const gradients = parameters.flatMap(({ grad }) => (grad ? [grad] : []));
    const checked = [...gradients, ...also];
    if (checked.length === 0) return full([], 1, { dtype: 'int32', device: this.scale.device });
    return noGrad(() =>
      scope(() => {
        const finite = allFinite(checked);
        scaleInPlace(gradients, div(full([], 1, { device: this.scale.device }), this.scale));
        this.adapt(cast(finite, 'float32'));
        return finite;
      }),
    );
  }

  // In float32 numbers that are whole or powers of two, so that nothing rounds. @param finite 1 or 0
  private adapt(finite: Tensor): void {
    const good = mul(finite, add(this.good, 1));
    const due = relu(sub(good, this.growthInterval - 1)); // 1 at the last of the interval, else 0
    this.good.assign(sub(good, mul(good, due)));
    const factor = add(mul(add(finite, 1), 0.5), due); // a half, 1 or 2
    this.scale.assign(minimum(mul(this.scale, factor), maximum(this.scale, LARGEST)));
  }

  /** The scale as a number, once what is queued has run. @throws ERR_NOT_FINITE when it fell so low that none helps */
  async value(): Promise<number> {
    const value = await this.scale.item();
    if (value >= SMALLEST) return value;
    throw new CodedError(
      'ERR_NOT_FINITE',
      `gradients are infinite or not a number at every loss scale down to ${SMALLEST}; ` +
        'try a lower learning rate, gradient clipping, or bfloat16',
    );
  }

  /** The state with the names that PyTorch's scaler gives it. */
  async stateDict(): Promise<Map<string, unknown>> {
    const [scale, good] = await Promise.all([this.scale.item(), this.good.item()]);
    return new Map<string, unknown>([
      ['scale', new PyFloat(scale)],
      ['growth_factor', new PyFloat(2)],
      ['backoff_factor', new PyFloat(0.5)],
      ['growth_interval', this.growthInterval],
      ['_growth_tracker', good],
    ]);
  }

  /** @param source names the file in messages. @throws ERR_CHECKPOINT_MISMATCH */
  loadStateDict(dict: unknown, source = 'the loss scale'): void {
    const [scale, good] = ['scale', '_growth_tracker'].map((key) => {
      const value: unknown = dict instanceof Map ? dict.get(key) : undefined;
      return Number(value instanceof PyFloat ? value.value : value);
    }) as [number, number];
    if (!(scale >= SMALLEST) || !Number.isInteger(good)) {
      throw new CodedError(
        'ERR_CHECKPOINT_MISMATCH',
        `${source}: 'scaler' is not the state of a loss scaler`,
      );
    }
    const { device } = this.scale;
    scope(() => {
      this.scale.assign(tensor([scale], [], { device }));
      this.good.assign(tensor([good], [], { device }));
    });
  }

  /** Releases the scale. Idempotent. */
  dispose(): void {
    this.scale.dispose();
    this.good.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
