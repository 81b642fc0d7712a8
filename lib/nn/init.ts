import { checkKnownOptions, checkSize, type KnownOptions, named } from '../base/check';
import { CodedError } from '../base/error';
import { native } from '../native/load';
import { full, randomNormal, randomUniform } from '../ops';
import { keep } from '../tensor/scope';
import { type Device, resolveDevice, Tensor } from '../tensor/tensor';

/** Which random numbers a draw takes and where they go. */
export interface DrawOptions {
  seed: number;
  /** Draws with the same seed and different streams are independent. */
  stream: number;
  device: Device;
}

/** Makes the initial values of a parameter: a fresh float32 tensor of `shape`. */
export type Distribution = (shape: readonly number[], draw: DrawOptions) => Tensor;

/** Every element is `value`. */
export const constant =
  (value: number): Distribution =>
  (shape, { device }) =>
    full(shape, value, { device });

export const zeros: Distribution = constant(0);
export const ones: Distribution = constant(1);

/** Normal with mean 0. */
export const normal =
  (std: number): Distribution =>
  (shape, draw) =>
    randomNormal(shape, { ...draw, std });

/** Uniform in [-bound, bound). */
export const uniform =
  (bound: number): Distribution =>
  (shape, draw) =>
    randomUniform(shape, { ...draw, low: -bound, high: bound });

/** Uniform within sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010), for a weight [out, in]. */
export const xavierUniform: Distribution = (shape, draw) =>
  uniform(Math.sqrt(6 / (shape[0]! + fanIn(shape))))(shape, draw);

/** Uniform within 1 / sqrt(fan in): the usual start of a linear layer [out, in] or a convolution [out, in, h, w]. */
export const fanInUniform: Distribution = (shape, draw) => uniform(1 / Math.sqrt(fanIn(shape)))(shape, draw);

function fanIn(shape: readonly number[]): number {
  return shape.slice(1).reduce((a, b) => a * b, 1);
}

/** What a weight of a matrix product may be stored in. */
export type WeightDtype = 'float32' | 'bfloat16' | 'float16';

const weightDtypes: readonly string[] = ['float32', 'bfloat16', 'float16'] satisfies WeightDtype[];

export interface InitializerOptions {
  /** Seed of the values (default 0). */
  seed?: number;
  device?: Device;
  /** Dtype of the weights of matrix products (default float32); vectors are always float32. */
  weightDtype?: WeightDtype;
  /** False leaves the values undefined, for a model whose weights are loaded next (default true). */
  draw?: boolean;
}

const keys: KnownOptions<InitializerOptions> = { seed: true, device: true, weightDtype: true, draw: true };

/**
 * Makes parameters, each from its own stream of the seed: values depend on the seed and on the order in which the
 * parameters are made.
 *
 * @example
 * const init = new Initializer({ seed: 1 });
 * const layer = new Linear(64, 10, init);
 */
export class Initializer {
  private readonly seed: number;
  private readonly device: Device;
  private readonly weightDtype: WeightDtype;
  private readonly draw: boolean;
  private stream = 0;

  /** @throws ERR_ARGUMENT, ERR_DTYPE, ERR_DEVICE */
  constructor(options: InitializerOptions = {}) {
    checkKnownOptions('Initializer', options, keys);
    const { seed = 0, device, weightDtype = 'float32', draw = true } = options;
    checkSize('Initializer', 'seed', seed, 0);
    if (!weightDtypes.includes(weightDtype))
      throw new CodedError(
        'ERR_DTYPE',
        `Initializer: weightDtype must be one of ${weightDtypes.join(', ')}, got ${weightDtype}`,
      );
    this.seed = seed;
    this.device = named('Initializer', () => resolveDevice(device));
    this.weightDtype = weightDtype;
    this.draw = draw;
  }

  /** A weight of a matrix product. */
  weight(shape: readonly number[], distribution: Distribution): Tensor {
    return this.make(shape, distribution, this.weightDtype);
  }

  /** A bias, a norm's parameter, or an embedding that is added: float32 in any case. */
  vector(shape: readonly number[], distribution: Distribution): Tensor {
    return this.make(shape, distribution, 'float32');
  }

  private make(shape: readonly number[], distribution: Distribution, dtype: WeightDtype): Tensor {
    const parameter = keep(new Tensor(native().emptyTensor(shape, dtype, resolveDevice(this.device))));
    parameter.requiresGrad = true;
    const stream = this.stream++;
    if (this.draw) initialize(parameter, distribution, { seed: this.seed, stream });
    return parameter;
  }
}

/** Replaces the values of a parameter by fresh ones. */
export function initialize(
  parameter: Tensor,
  distribution: Distribution,
  draw: { seed: number; stream: number },
): void {
  const values = distribution(parameter.shape, { ...draw, device: parameter.device });
  parameter.assign(values);
  values.dispose();
}
