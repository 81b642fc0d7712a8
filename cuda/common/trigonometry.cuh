// Sine and cosine of float32 without the local memory of the library's functions, about 1 ulp. The host gets
// the same bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <primitives/device.cuh>

namespace native::cuda {

// Bits 32 i .. 32 i + 31 of 2 / pi behind 32 zeros.
__device__ __forceinline__ uint32_t two_over_pi(int i) {
  const uint32_t low = i == 1 ? 0xA2F9836Eu : i == 2 ? 0x4E441529u : i == 3 ? 0xFC2757D1u : 0u;
  const uint32_t high = i == 4 ? 0xF534DDC0u : i == 5 ? 0xDB629599u : i == 6 ? 0x3C439041u : 0xFE5163ABu;
  return i < 4 ? low : high;
}

// x = quadrant pi / 2 + the result, which is within pi / 4 of zero; |x| < 2^127, any size.
__device__ __forceinline__ float reduce_angle(float x, int* quadrant) {
  if (fabsf(x) < 65536.0f) {
    // pi / 2 in three parts. The first product leaves nothing to round: its difference has at most 24 bits.
    const float k = rintf(x * 0.636619772f);
    *quadrant = static_cast<int>(k);
    float r = fmaf(-k, 1.57079637f, x);
    r = fmaf(-k, -4.37113883e-8f, r);
    return fmaf(-k, -1.71512451e-15f, r);
  }
  // x = m 2^e: 96 bits of 2 / pi from the one that weighs 2 in x (2 / pi), times m, are the quadrant modulo 4
  // (2 bits) and the fraction (Payne and Hanek, 1983).
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint64_t m = (bits & 0x7FFFFF) | 0x800000;
  const int position = static_cast<int>((bits >> 23) & 255) - 150 - 2 + 32, word = position / 32,
            shift = position % 32;
  uint64_t part[3];
  uint32_t left = two_over_pi(word);
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const uint32_t right = two_over_pi(word + 1 + i);
    part[i] = shift ? (left << shift) | (right >> (32 - shift)) : left;
    left = right;
  }
  const uint64_t turns = ((m * part[0]) << 32) + m * part[1] + ((m * part[2]) >> 32);
  const int nearest = static_cast<int>(turns >> 62) + static_cast<int>((turns >> 61) & 1);
  // The fraction as a signed number: 2^-64 x (-2^63 .. 2^63 - 1), times pi / 2.
  const float r =
      static_cast<float>(static_cast<double>(static_cast<int64_t>(turns << 2)) * 8.515303950216386e-20);
  const bool negative = bits >> 31;
  *quadrant = negative ? -nearest : nearest;
  return negative ? -r : r;
}

struct SineCosine {
  float sine, cosine;
};

// NaN for NaN and the infinities.
__device__ __forceinline__ SineCosine sine_cosine(float x) {
  if (!(fabsf(x) <= 3.40282347e38f)) return {x - x, x - x};
  int quadrant;
  const float r = reduce_angle(x, &quadrant), square = r * r;
  // Taylor series: the first term left out is below 3e-9 of the sum for |r| <= pi / 4.
  float sine = fmaf(square, 2.75573192e-6f, -1.98412698e-4f);
  sine = fmaf(sine, square, 8.33333333e-3f);
  sine = fmaf(sine, square, -1.66666667e-1f);
  sine = fmaf(sine * square, r, r);
  float cosine = fmaf(square, -2.75573192e-7f, 2.48015873e-5f);
  cosine = fmaf(cosine, square, -1.38888889e-3f);
  cosine = fmaf(cosine, square, 4.16666667e-2f);
  cosine = fmaf(cosine, square, -0.5f);
  cosine = fmaf(cosine, square, 1.0f);
  const float s = quadrant & 1 ? cosine : sine, c = quadrant & 1 ? sine : cosine;
  return {quadrant & 2 ? -s : s, (quadrant + 1) & 2 ? -c : c};
}

}  // namespace native::cuda
