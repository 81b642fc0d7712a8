/**
 * Element types of checkpoint files and conversions of whole arrays between them. Bytes are little endian, as in every
 * format read here and on every machine Node runs this package on.
 */

/** Element types a checkpoint may hold. */
export type RawDtype =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint8'
  | 'bool';

/** Bytes per element. */
export const DTYPE_SIZE: Readonly<Record<RawDtype, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

const halfValues = tabulateHalf();

/** IEEE half precision bits to float32; exact. */
export function halfToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = halfValues[bits[i]!]!;
  return values;
}

/** bfloat16 bits to float32; exact. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/** float32 to half precision bits, round to nearest even; beyond 65504 becomes infinity, below 2^-25 zero. */
export function float32ToHalf(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const sign = (words[i]! >>> 16) & 0x8000;
    bits[i] = sign | halfMagnitude(words[i]! & 0x7fffffff, values[i]!);
  }
  return bits;
}

/** float32 to bfloat16 bits, round to nearest even; NaN stays NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = words[i]!;
    const isNotANumber = (word & 0x7fffffff) > 0x7f800000;
    bits[i] = isNotANumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return bits;
}

/**
 * Elements of `dtype` as float32: exact for float16, bfloat16 and integers below 2^24, rounded otherwise.
 *
 * @param data - little endian elements that start at offset 0 of their own buffer; float32 is returned without a copy
 */
export function toFloat32(dtype: RawDtype, data: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  switch (dtype) {
    case 'float32':
      return new Float32Array(data.buffer);
    case 'float64':
      return new Float32Array(new Float64Array(data.buffer));
    case 'float16':
      return halfToFloat32(new Uint16Array(data.buffer));
    case 'bfloat16':
      return bfloat16ToFloat32(new Uint16Array(data.buffer));
    case 'int64':
      return Float32Array.from(new BigInt64Array(data.buffer), Number);
    case 'int32':
      return new Float32Array(new Int32Array(data.buffer));
    case 'int16':
      return new Float32Array(new Int16Array(data.buffer));
    case 'int8':
      return new Float32Array(new Int8Array(data.buffer));
    case 'uint8':
    case 'bool':
      return new Float32Array(data);
  }
}

/** Half bits (without sign) of the float32 with absolute bits `word`; `value` has the same magnitude. */
function halfMagnitude(word: number, value: number): number {
  if (word > 0x7f800000) return 0x7e00 | ((word >>> 13) & 0x1ff);
  if (word >= 0x477ff000) return 0x7c00;
  if (word < 0x38800000) return roundHalfEven(Math.abs(value) * 2 ** 24);
  // Rebias the exponent from 127 to 15, then round away 13 bits of the significand.
  return (word - 0x38000000 + 0xfff + ((word >>> 13) & 1)) >>> 13;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function tabulateHalf(): Float32Array {
  return Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >>> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
  });
}
