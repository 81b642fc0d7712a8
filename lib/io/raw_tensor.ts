import { isSharedArrayBuffer } from 'node:util/types';
import { CodedError } from '../base/error';
import { DTYPE_SIZE, type RawDtype, toFloat32 } from './dtype';

/**
 * A tensor in a checkpoint: dtype, shape and contiguous row-major little-endian bytes. The bytes are fetched by
 * {@link RawTensor.data} and not kept, so that walking a file of several gigabytes costs only what is looked at; one
 * that was read from a file can be fetched until its checkpoint is closed.
 *
 * @example
 * const bias = new RawTensor('float32', [3], new Float32Array([1, 2, 3]));
 * const values = await bias.float32();   // Float32Array [1, 2, 3]
 */
export class RawTensor {
  readonly dtype: RawDtype;
  readonly shape: readonly number[];
  /** Number of elements; 1 for shape []. */
  readonly size: number;
  /** Bytes of all elements. */
  readonly byteLength: number;
  private readonly source: () => Promise<Uint8Array>;

  /**
   * @param bytes - `byteLength` bytes as any typed array, or a function that fetches them (called at every access)
   * @throws ERR_SHAPE when shape and bytes disagree, ERR_DTYPE when the dtype is unknown
   */
  constructor(
    dtype: RawDtype,
    shape: readonly number[],
    bytes: ArrayBufferView | (() => Promise<Uint8Array>),
  ) {
    if (!Object.hasOwn(DTYPE_SIZE, dtype)) throw new CodedError('ERR_DTYPE', `unknown dtype "${dtype}"`);
    if (!shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
      throw new CodedError('ERR_SHAPE', `a shape holds integers >= 0, not [${shape}]`);
    }
    this.dtype = dtype;
    this.shape = [...shape];
    this.size = shape.includes(0) ? 0 : shape.reduce((product, extent) => product * extent, 1);
    this.byteLength = this.size * DTYPE_SIZE[dtype];
    if (!Number.isSafeInteger(this.byteLength))
      throw new CodedError('ERR_SHAPE', `shape [${shape}] is too large`);
    if (typeof bytes === 'function') {
      this.source = bytes;
    } else {
      const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.checkLength(view);
      this.source = async () => view;
    }
  }

  /**
   * The elements as bytes at offset 0 of a buffer of their own: `new Float32Array((await t.data()).buffer)` works. A
   * tensor made from an array may hand out that array, so treat it as read-only.
   */
  async data(): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.source();
    this.checkLength(bytes);
    const owned = !isSharedArrayBuffer(bytes.buffer) && bytes.buffer.byteLength === bytes.length;
    return owned ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
  }

  /** The elements as float32; float64 and large integers are rounded, everything else is exact. */
  async float32(): Promise<Float32Array<ArrayBuffer>> {
    return toFloat32(this.dtype, await this.data());
  }

  /** The value of a tensor with one element. @throws ERR_SHAPE when there are more or none */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new CodedError('ERR_SHAPE', `item() needs one element, not shape [${this.shape}]`);
    const data = await this.data();
    if (this.dtype === 'float64') return new Float64Array(data.buffer)[0]!;
    if (this.dtype === 'int64') return Number(new BigInt64Array(data.buffer)[0]);
    if (this.dtype === 'int32') return new Int32Array(data.buffer)[0]!;
    return toFloat32(this.dtype, data)[0]!;
  }

  private checkLength(bytes: Uint8Array): void {
    if (bytes.length === this.byteLength) return;
    const shape = `${this.dtype} [${this.shape}]`;
    throw new CodedError('ERR_SHAPE', `${shape} needs ${this.byteLength} bytes, not ${bytes.length}`);
  }
}
