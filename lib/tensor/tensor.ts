import { checkKnownOptions, type KnownOptions, named, wrongKind } from '../base/check';
import { CodedError } from '../base/error';
import { type Device, resolveDevice } from '../native/device';
import { type DeviceType, type DType, type NativeTensor, native } from '../native/load';
import type { Edge } from './autograd';
import { adopt, keep } from './scope';

export { type Device, resolveDevice } from '../native/device';

/** Typed arrays that hold tensor elements. bfloat16 and float16 travel as their bits in a Uint16Array. */
export type TensorData = Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array;

/** Numbers as a tensor's rows, rows of rows, …; all of one depth have the same length. */
export type NestedNumbers = number | bigint | readonly NestedNumbers[];

export interface TensorOptions {
  dtype?: DType;
  /** Default: {@link defaultDevice}. */
  device?: Device;
  /** Record operations on this tensor so that `backward` fills its `grad`. */
  requiresGrad?: boolean;
}

/** @internal */
export const tensorKeys: KnownOptions<TensorOptions> = { dtype: true, device: true, requiresGrad: true };

/** A count of in-place changes that tensors on one storage have in common. */
export interface Changes {
  count: number;
}

/**
 * A contiguous, row-major array on a device. Operations return at once (they are queued); `data`, `toArray` and
 * `item` wait for the queue without blocking the event loop. Release it with `dispose()`, `using`, or a `scope`.
 */
export class Tensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly device: DeviceType;
  /** The gradient that `backward` accumulated; only on leaves that require one. */
  grad: Tensor | null = null;
  /**
   * Where this tensor came from, when it depends on something that requires a gradient.
   * @internal
   */
  edge: Edge | null = null;
  /**
   * Counts in-place changes, so that values derived from this tensor know when they are stale.
   * @internal
   */
  changes: Changes = { count: 0 };
  private native: NativeTensor | null;
  private leafRequiresGrad = false;
  private casts: Map<DType, { version: number; tensor: Tensor }> | null = null;

  /**
   * Wraps a handle of the compute addon and takes ownership of it. To make a tensor from values, call `tensor`.
   * @internal
   */
  constructor(handle: NativeTensor) {
    const [dtype, device, ...shape] = native().describe(handle);
    this.native = handle;
    this.dtype = dtype as DType;
    this.device = device as DeviceType;
    this.shape = shape as number[];
    adopt(this);
  }

  /**
   * The addon's handle.
   * @throws ERR_DISPOSED
   * @internal
   */
  get handle(): NativeTensor {
    if (this.native === null) {
      throw new CodedError(
        'ERR_DISPOSED',
        `a tensor ${this.dtype}[${this.shape.join(', ')}] was used after dispose`,
      );
    }
    return this.native;
  }

  /** How often the contents were changed in place, by this tensor or another on the same storage. */
  get version(): number {
    return this.changes.count;
  }

  set version(count: number) {
    this.changes.count = count;
  }

  get disposed(): boolean {
    return this.native === null;
  }

  /** Number of dimensions. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  /** Size of dimension `axis`; negative counts from the end. */
  dim(axis: number): number {
    const size = this.shape[axis < 0 ? this.shape.length + axis : axis];
    if (size === undefined) {
      throw new CodedError('ERR_SHAPE', `dimension ${axis} does not exist in ${describe(this)}`);
    }
    return size;
  }

  /** True for leaves marked so and for everything computed from one. */
  get requiresGrad(): boolean {
    return this.leafRequiresGrad || this.edge !== null;
  }

  /** Marks or unmarks a leaf. @throws ERR_NO_GRADIENT on a computed tensor, ERR_DTYPE on integers */
  set requiresGrad(on: boolean) {
    if (this.edge) {
      throw new CodedError(
        'ERR_NO_GRADIENT',
        'requiresGrad can be set on leaves only, not on results of operations',
      );
    }
    if (on && !floating.has(this.dtype)) {
      throw new CodedError('ERR_DTYPE', `only tensors of real numbers have gradients, not ${this.dtype}`);
    }
    this.leafRequiresGrad = on;
  }

  /** The elements in row-major order; bfloat16 and float16 as raw bits. Rejects when an operation before failed. */
  async data(): Promise<TensorData> {
    const buffer = await native().read(this.handle);
    return typedArray(this.dtype, buffer);
  }

  /** The elements as nested arrays of numbers (a number for a scalar). */
  async toArray(): Promise<unknown> {
    const flat = toNumbers(this.dtype, await this.data());
    let position = 0;
    const build = (axis: number): unknown => {
      if (axis === this.shape.length) return flat[position++];
      return Array.from({ length: this.shape[axis]! }, () => build(axis + 1));
    };
    return build(0);
  }

  /** The only element as a number. @throws ERR_SHAPE when there are more or none */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new CodedError('ERR_SHAPE', `item() needs one element, ${describe(this)} has ${this.size}`);
    return toNumbers(this.dtype, await this.data())[0]!;
  }

  /** A copy on another device, outside the autograd graph. It waits for this device's queue, like `data`. */
  async to(device: Device): Promise<Tensor> {
    return tensor(await this.data(), this.shape, { dtype: this.dtype, device });
  }

  /** A second handle on the same storage, outside the autograd graph. */
  detach(): Tensor {
    return new Tensor(native().retain(this.handle)).sharing(this);
  }

  /**
   * Says that this tensor stands on the storage of `other`: what changes one changes both.
   * @internal
   */
  sharing(other: Tensor): this {
    this.changes = other.changes;
    return this;
  }

  /**
   * Whether a handle is that of this tensor or of a cached cast.
   * @internal
   */
  owns(handle: NativeTensor): boolean {
    if (handle === this.native) return true;
    for (const { tensor } of this.casts?.values() ?? []) if (tensor.native === handle) return true;
    return false;
  }

  /**
   * This leaf in another floating dtype, computed once per version: how float32 master weights are used in bfloat16.
   * The result belongs to this tensor and is not differentiated. Its memory stays the same, so recorded work can read it.
   */
  castCached(dtype: DType): Tensor {
    if (dtype === this.dtype) return this;
    this.casts ??= new Map();
    let cast = this.casts.get(dtype);
    if (cast === undefined) {
      cast = { version: this.version, tensor: keep(new Tensor(native().cast(this.handle, dtype))) };
      this.casts.set(dtype, cast);
    } else if (cast.version !== this.version) {
      cast.tensor.assign(this);
      cast.version = this.version;
    }
    return cast.tensor;
  }

  /**
   * A cached cast to 16 bits that is of the present contents, or null: whoever changes these can write it along.
   * @internal
   */
  get currentCopy(): Tensor | null {
    for (const { version, tensor } of this.casts?.values() ?? []) {
      if (version === this.version && (tensor.dtype === 'bfloat16' || tensor.dtype === 'float16'))
        return tensor;
    }
    return null;
  }

  /**
   * Says that the contents were changed in place, and `copy`, a cached cast, with them.
   * @internal
   */
  changed(copy: Tensor | null = null): void {
    this.version++;
    for (const cast of this.casts?.values() ?? []) {
      if (cast.tensor === copy) cast.version = this.version;
    }
  }

  /**
   * Makes the cached casts those of the present contents.
   * @internal
   */
  refreshCasts(): void {
    for (const dtype of this.casts?.keys() ?? []) this.castCached(dtype);
  }

  /** Replaces the contents in place by those of `source` (same shape; the dtype is converted). */
  assign(source: Tensor): void {
    if (!(source instanceof Tensor)) throw wrongKind('assign', 'source', 'a tensor', source);
    named('assign', () => native().copyInto(this.handle, source.handle));
    this.version++;
  }

  /** Releases the storage, the gradient and cached casts. Idempotent. */
  dispose(): void {
    if (this.native === null) return;
    native().release(this.native);
    this.native = null;
    this.edge = null;
    for (const { tensor } of this.casts?.values() ?? []) tensor.dispose();
    this.casts = null;
    this.grad?.dispose();
    this.grad = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * A tensor from numbers.
 *
 * @param data a typed array (bfloat16 and float16: bits in a Uint16Array) or nested arrays of numbers
 * @param shape defaults to the nesting, or to `[data.length]`
 * @throws ERR_SHAPE when the number of elements does not fit, ERR_DTYPE when the array type does not, ERR_ARGUMENT for a
 *   number in nested arrays that an integer dtype does not hold: a fraction, NaN, or one out of its range
 *
 * @example
 * const x = tensor(new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3]);
 */
export function tensor(
  data: TensorData | NestedNumbers,
  shape?: readonly number[],
  options: TensorOptions = {},
): Tensor {
  checkKnownOptions('tensor', options, tensorKeys);
  return named('tensor', () => make(data, shape, options));
}

function make(
  data: TensorData | NestedNumbers,
  shape: readonly number[] | undefined,
  options: TensorOptions,
): Tensor {
  const given = ArrayBuffer.isView(data) ? null : nestedShape(data);
  const dtype = options.dtype ?? (given ? 'float32' : dtypeOf(data as TensorData));
  if (!(dtype in arrayTypes)) throw new CodedError('ERR_DTYPE', `unknown dtype '${dtype}'`);
  const array = given
    ? fromNumbers(dtype, (data as Numbers).flat?.(Number.POSITIVE_INFINITY) ?? [data], given)
    : data;
  checkArrayType(dtype, array as TensorData);
  const result = new Tensor(
    native().tensorFromHost(
      array as TensorData,
      shape ?? given ?? [(array as TensorData).length],
      dtype,
      resolveDevice(options.device),
    ),
  );
  if (options.requiresGrad) result.requiresGrad = true;
  return result;
}

/** "float32[2, 3]". */
export function describe(x: Pick<Tensor, 'dtype' | 'shape'>): string {
  return `${x.dtype}[${x.shape.join(', ')}]`;
}

const floating: ReadonlySet<DType> = new Set(['float32', 'bfloat16', 'float16']);

const arrayTypes = {
  float32: Float32Array,
  bfloat16: Uint16Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
} as const;

function typedArray(dtype: DType, buffer: ArrayBuffer): TensorData {
  return new arrayTypes[dtype](buffer);
}

function dtypeOf(data: TensorData): DType {
  const name = Object.prototype.toString.call(data).slice(8, -1);
  const found = (Object.keys(arrayTypes) as DType[]).find((d) => arrayTypes[d].name === name);
  if (!found || name === 'Uint16Array') {
    throw new CodedError('ERR_DTYPE', `a ${name} has no default dtype; pass options.dtype`);
  }
  return found;
}

function checkArrayType(dtype: DType, data: TensorData): void {
  const name = Object.prototype.toString.call(data).slice(8, -1);
  if (arrayTypes[dtype].name !== name) {
    throw new CodedError('ERR_DTYPE', `${dtype} data must be a ${arrayTypes[dtype].name}, got a ${name}`);
  }
}

function nestedShape(data: unknown): number[] {
  if (typeof data === 'number' || typeof data === 'bigint') return [];
  if (!Array.isArray(data)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      'the data must be numbers, nested arrays of numbers, or a typed array',
    );
  }
  const inner = data.length > 0 ? nestedShape(data[0]) : [];
  for (const item of data) {
    const other = nestedShape(item);
    if (other.length !== inner.length || other.some((size, i) => size !== inner[i])) {
      throw new CodedError('ERR_SHAPE', 'nested arrays must have the same length at each depth');
    }
  }
  return [data.length, ...inner];
}

type Numbers = (number | bigint)[];

/** @param shape that of the nested arrays which the values come from */
function fromNumbers(dtype: DType, values: Numbers, shape: readonly number[]): TensorData {
  if (dtype in integerRanges) {
    for (const [i, value] of values.entries()) checkInteger(dtype, value, () => placeOf(i, shape));
  }
  // Not by way of a number, which holds 53 bits.
  if (dtype === 'int64') return BigInt64Array.from(values, BigInt);
  const numbers = values.map(Number);
  if (dtype === 'bfloat16') return Uint16Array.from(numbers, bfloat16Bits);
  if (dtype === 'float16') return Uint16Array.from(numbers, float16Bits);
  return (arrayTypes[dtype] as { from(x: number[]): TensorData }).from(numbers);
}

/** " at [1, 2]" for element `i` in row-major order; nothing for a scalar. */
function placeOf(i: number, shape: readonly number[]): string {
  let rest = i;
  const place: number[] = [];
  for (const size of [...shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return place.length > 0 ? ` at [${place.join(', ')}]` : '';
}

const integerRanges: { readonly [T in DType]?: readonly [least: bigint, most: bigint] } = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint8: [0n, 255n],
};

/**
 * Refuses what an integer dtype does not hold: JavaScript would cut off fractions, wrap large numbers and make 0 of NaN.
 *
 * @param where the number stood, for the message
 * @throws ERR_ARGUMENT
 * @internal
 */
export function checkInteger(dtype: DType, value: number | bigint, where = () => ''): void {
  const range = integerRanges[dtype];
  if (range === undefined) return;
  const [least, most] = range;
  if ((typeof value === 'bigint' || Number.isInteger(value)) && value >= least && value <= most) return;
  throw new CodedError(
    'ERR_ARGUMENT',
    `${dtype} data must be whole numbers from ${least} to ${most}, got ${value}${where()}; cast() cuts fractions off`,
  );
}

/** Elements as JavaScript numbers, whatever the dtype. */
export function toNumbers(dtype: DType, data: TensorData): number[] {
  if (dtype === 'bfloat16') return Array.from(data as Uint16Array, fromBfloat16Bits);
  if (dtype === 'float16') return Array.from(data as Uint16Array, fromFloat16Bits);
  return Array.from(data as ArrayLike<number | bigint>, Number);
}

const scratch = new DataView(new ArrayBuffer(4));

/** The 16 bits of a number rounded to bfloat16 (nearest even). */
export function bfloat16Bits(value: number): number {
  scratch.setFloat32(0, value);
  const word = scratch.getUint32(0);
  if (Number.isNaN(value)) return (word >>> 16) | 0x40;
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The 16 bits of a number rounded to float16 (nearest even). */
export function float16Bits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  // The step between neighbours: 2^-24 below the normal numbers, else a 1024th of the power of two below.
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)));
  const steps = roundHalfEven(magnitude / 2 ** (exponent - 10));
  // As an integer the steps above the normal numbers' hidden bit carry into the exponent by themselves.
  return sign | (magnitude < 2 ** -14 ? steps : ((exponent + 14) << 10) + steps);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function fromBfloat16Bits(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

function fromFloat16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}
