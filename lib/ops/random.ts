import { checkKnownOptions, checkNumber, type KnownOptions, named } from '../base/check';
import { type NativeTensor, native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkOptionalTensor, checkTensor } from '../tensor/check';
import { type Device, resolveDevice, Tensor } from '../tensor/tensor';

/** Which random numbers a draw takes. The same key gives the same numbers on every device and with any thread count. */
export interface RandomKey {
  /** Integer in [0, 2^53). */
  seed: number;
  /** Draws with the same seed and different streams are independent; integer in [0, 2^53), default 0. */
  stream?: number;
  device?: Device;
}

const keyKeys: KnownOptions<RandomKey> = { seed: true, stream: true, device: true };
const normalKeys = { ...keyKeys, mean: true, std: true } as const;

/**
 * float32 numbers, uniform in [low, high). Element i comes from word `i % 4` of Philox block `i / 4`, with 24 bits.
 *
 * @throws ERR_SHAPE, ERR_ARGUMENT
 *
 * @example
 * const x = randomUniform([2, 3], { seed: 1, low: -1, high: 1 });
 */
export function randomUniform(
  shape: readonly number[],
  options: RandomKey & { low?: number; high?: number },
): Tensor {
  checkKnownOptions('randomUniform', options, { ...keyKeys, low: true, high: true });
  const { seed, stream = 0, device, low = 0, high = 1 } = options;
  return named(
    'randomUniform',
    () => new Tensor(native().randomUniform(shape, low, high, seed, stream, resolveDevice(device))),
  );
}

/**
 * float32 numbers from a normal distribution (Box and Muller, 1958): words 0 and 1 of a block make elements 0 and 1 of
 * the four, words 2 and 3 the others.
 *
 * @throws ERR_SHAPE, ERR_ARGUMENT
 *
 * @example
 * const x = randomNormal([2, 3], { seed: 1, std: 0.02 });
 */
export function randomNormal(
  shape: readonly number[],
  options: RandomKey & { mean?: number; std?: number },
): Tensor {
  checkKnownOptions('randomNormal', options, normalKeys);
  const { seed, stream = 0, device, mean = 0, std = 1 } = options;
  checkNumber('randomNormal', 'mean', mean);
  return named(
    'randomNormal',
    () => new Tensor(native().randomNormal(shape, mean, std, seed, stream, resolveDevice(device))),
  );
}

/**
 * float32 numbers from a normal distribution cut off at `low` and `high`, by the inverse of its distribution function.
 *
 * @throws ERR_SHAPE, ERR_ARGUMENT
 *
 * @example
 * const x = randomTruncatedNormal([2, 3], { seed: 1, std: 0.02, low: -0.04, high: 0.04 });
 */
export function randomTruncatedNormal(
  shape: readonly number[],
  options: RandomKey & { mean?: number; std?: number; low: number; high: number },
): Tensor {
  checkKnownOptions('randomTruncatedNormal', options, { ...normalKeys, low: true, high: true });
  const { seed, stream = 0, device, mean = 0, std = 1, low, high } = options;
  checkNumber('randomTruncatedNormal', 'mean', mean);
  return named(
    'randomTruncatedNormal',
    () =>
      new Tensor(
        native().randomTruncatedNormal(shape, mean, std, low, high, seed, stream, resolveDevice(device)),
      ),
  );
}

export interface DropPathOptions {
  /** Probability of dropping a sample, in [0, 1). At 0 the result shares the storage of x. */
  rate: number;
  seed: number;
  stream: number;
  /** int64 [], added to `stream` on the device: recorded work then draws anew at each replay. */
  offset?: Tensor | null;
  /** How many samples dimension 0 holds: it is cut into so many equal runs of rows. */
  samples: number;
}

const dropKeys: KnownOptions<DropPathOptions> = {
  rate: true,
  seed: true,
  stream: true,
  offset: true,
  samples: true,
};

/**
 * Stochastic depth (Huang et al., 2016) per sample: all of a sample becomes zero with probability `rate`, and is
 * multiplied by `1 / (1 - rate)` otherwise. Sample g takes word `g % 4` of Philox block `g / 4`.
 *
 * @param x float32 or bfloat16; a multiple of `samples` rows
 * @returns as x
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT; ERR_DEVICE for an offset elsewhere
 *
 * @example
 * const y = dropPath(ones([4, 2]), { rate: 0.5, seed: 1, stream: 0, samples: 4 }); // rows of 0 or of 2
 */
export function dropPath(x: Tensor, options: DropPathOptions): Tensor {
  checkTensor('drop_path', 'x', x);
  checkKnownOptions('drop_path', options, dropKeys);
  const { rate, seed, stream, offset, samples } = options;
  checkOptionalTensor('drop_path', 'offset', offset);
  const drop = (handle: NativeTensor, by: NativeTensor | null) =>
    rate === 0 ? native().retain(handle) : native().dropPath(handle, rate, samples, seed, stream, by);
  return unaryOutput(
    'drop_path',
    [x, offset],
    (context) => {
      if (offset) context.save(offset.handle);
      return drop(x.handle, offset?.handle ?? null);
    },
    ([dy], [by]) => [drop(dy!, by ?? null), null],
  );
}
