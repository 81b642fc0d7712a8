import { CodedError } from '../base/error';
import { DTYPE_SIZE, type RawDtype } from './dtype';
import type { ByteRange } from './file_bytes';
import { RawTensor } from './raw_tensor';

/** The one-dimensional block of elements that torch tensors are views of. */
export interface TorchStorage {
  readonly dtype: RawDtype;
  /** Number of elements. */
  readonly size: number;
  /** The elements; called when a tensor is fetched. */
  bytes(): Promise<ByteRange>;
}

const STORAGE_DTYPES: ReadonlyMap<string, RawDtype> = new Map([
  ['DoubleStorage', 'float64'],
  ['FloatStorage', 'float32'],
  ['HalfStorage', 'float16'],
  ['BFloat16Storage', 'bfloat16'],
  ['LongStorage', 'int64'],
  ['IntStorage', 'int32'],
  ['ShortStorage', 'int16'],
  ['CharStorage', 'int8'],
  ['ByteStorage', 'uint8'],
  ['BoolStorage', 'bool'],
]);

/** Most bytes of a tensor that repeats elements of its storage (stride 0) beyond the storage's own size. */
const MAX_EXPANDED = 64 << 20;
const MAX_RANK = 64;

/** The dtype of a storage class such as `torch.FloatStorage` or `torch.cuda.HalfStorage`. */
export function storageDtype(className: string): RawDtype | undefined {
  const match = /^torch\.(?:cuda\.)?(\w+)$/.exec(className);
  return match ? STORAGE_DTYPES.get(match[1]!) : undefined;
}

/**
 * The tensor `shape` at `strides` and `offset` (all in elements) of a storage, as a contiguous one.
 *
 * @throws ERR_CHECKPOINT_UNSAFE when the view is not inside the storage or repeats it absurdly often
 */
export function viewStorage(
  path: string,
  storage: TorchStorage,
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
): RawTensor {
  const refuse = (what: string): never => {
    const view = `a tensor of shape [${shape}] with strides [${strides}] at offset ${offset}`;
    throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${path}: ${view} ${what}`);
  };
  const isSize = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  if (shape.length !== strides.length || shape.length > MAX_RANK) {
    throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${path}: a tensor has ${shape.length} dimensions`);
  }
  if (![offset, ...shape, ...strides].every(isSize)) refuse('has an impossible extent');
  const size = shape.includes(0) ? 0 : shape.reduce((product, extent) => product * extent, 1);
  const extent =
    size === 0 ? 0 : 1 + shape.reduce((last, count, axis) => last + (count - 1) * strides[axis]!, 0);
  if (offset + extent > storage.size) refuse(`is not inside its storage of ${storage.size} elements`);
  const itemSize = DTYPE_SIZE[storage.dtype];
  if (size > storage.size && size * itemSize > MAX_EXPANDED) refuse('repeats its storage absurdly often');
  return new RawTensor(storage.dtype, shape, async () => {
    const range = await storage.bytes();
    const bytes = await range.read(offset * itemSize, extent * itemSize);
    return isContiguous(shape, strides) ? bytes : gather(bytes, itemSize, shape, strides);
  });
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

type Words = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

/** Copies a strided view into contiguous row-major order. Elements are moved as bits, so every NaN survives. */
function gather(
  bytes: Uint8Array<ArrayBuffer>,
  itemSize: number,
  shape: readonly number[],
  strides: readonly number[],
): Uint8Array<ArrayBuffer> {
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[itemSize]!;
  const from: Words = new Words(bytes.buffer);
  const to: Words = new Words(shape.reduce((product, extent) => product * extent, 1));
  const index = shape.map(() => 0);
  const last = shape.length - 1;
  const rowLength = shape[last]!;
  const rowStride = strides[last]!;
  for (let at = 0, start = 0; at < to.length; ) {
    for (let i = 0; i < rowLength; i++) to[at++] = from[start + i * rowStride]!;
    for (let axis = last - 1; axis >= 0; axis--) {
      start += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      start -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return new Uint8Array(to.buffer as ArrayBuffer);
}
