import {
  bfloat16ToFloat32,
  DTYPE_SIZE,
  float32ToBfloat16,
  float32ToHalf,
  halfToFloat32,
  type RawDtype,
  toFloat32,
} from '../../lib/io/dtype';

const allBits = Uint16Array.from({ length: 65536 }, (_, i) => i);

describe('half precision', () => {
  it('has the values of IEEE 754', () => {
    const bits = Uint16Array.of(
      0x0000,
      0x8000,
      0x3c00,
      0xc000,
      0x7bff,
      0x0001,
      0x0400,
      0x3555,
      0x7c00,
      0xfc00,
    );
    const values = [0, -0, 1, -2, 65504, 2 ** -24, 2 ** -14, 0.333251953125, Infinity, -Infinity];
    expect([...halfToFloat32(bits)]).toEqual(values);
  });

  it('survives the way to float32 and back, every value', () => {
    const values = halfToFloat32(allBits);
    const back = float32ToHalf(values);
    for (const bits of allBits) {
      if (Number.isNaN(values[bits])) expect(back[bits]! & 0x7fff).toBeGreaterThan(0x7c00);
      else if (back[bits] !== bits)
        throw new Error(`half ${bits.toString(16)} became ${back[bits]!.toString(16)}`);
    }
  });

  it('rounds to the nearest, ties to even', () => {
    const halves = halfToFloat32(allBits.subarray(0, 0x7c00));
    for (let bits = 0; bits < 0x7bff; bits += 7) {
      const low = halves[bits]!;
      const middle = (low + halves[bits + 1]!) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const near = Float32Array.of(middle, middle * (1 - 2 ** -20), middle * (1 + 2 ** -20), -middle);
      expect([...float32ToHalf(near)]).toEqual([even, bits, bits + 1, even | 0x8000]);
    }
  });

  it('turns what is too large into infinity and what is too small into zero', () => {
    const values = Float32Array.of(65519.99, 65520, 1e38, 2 ** -25, 2 ** -25 * 1.001, -1e-30);
    expect([...float32ToHalf(values)]).toEqual([0x7bff, 0x7c00, 0x7c00, 0, 1, 0x8000]);
  });
});

describe('bfloat16', () => {
  it('survives the way to float32 and back, every value', () => {
    const values = bfloat16ToFloat32(allBits);
    const back = float32ToBfloat16(values);
    for (const bits of allBits) {
      if (Number.isNaN(values[bits]))
        expect(Number.isNaN(bfloat16ToFloat32(back.subarray(bits, bits + 1))[0])).toBe(true);
      else if (back[bits] !== bits) throw new Error(`bfloat16 ${bits} became ${back[bits]}`);
    }
  });

  it('rounds to the nearest, ties to even', () => {
    const words = Uint32Array.of(0x3f808000, 0x3f808001, 0x3f818000, 0x3f807fff, 0x7f7fffff, 0x7f800001);
    const expected = [0x3f80, 0x3f81, 0x3f82, 0x3f80, 0x7f80, 0x7fc0];
    expect([...float32ToBfloat16(new Float32Array(words.buffer))]).toEqual(expected);
  });
});

it('reads every dtype as float32', () => {
  const typed: Record<RawDtype, ArrayBufferView> = {
    float64: Float64Array.of(1, -2.5, 100),
    float32: Float32Array.of(1, -2.5, 100),
    float16: Uint16Array.of(0x3c00, 0xc100, 0x5640),
    bfloat16: Uint16Array.of(0x3f80, 0xc020, 0x42c8),
    int64: BigInt64Array.of(1n, -2n, 100n),
    int32: Int32Array.of(1, -2, 100),
    int16: Int16Array.of(1, -2, 100),
    int8: Int8Array.of(1, -2, 100),
    uint8: Uint8Array.of(1, 2, 100),
    bool: Uint8Array.of(1, 0, 1),
  };
  const values = Object.entries(typed).map(([dtype, view]) => {
    expect(view.byteLength).toBe(3 * DTYPE_SIZE[dtype as RawDtype]);
    return [...toFloat32(dtype as RawDtype, new Uint8Array(view.buffer as ArrayBuffer))];
  });
  const floats = Array.from({ length: 4 }, () => [1, -2.5, 100]);
  const integers = Array.from({ length: 4 }, () => [1, -2, 100]);
  expect(values).toEqual([...floats, ...integers, [1, 2, 100], [1, 0, 1]]);
});
