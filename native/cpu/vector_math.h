// exp, sigmoid and tanh without branches or library calls, so that the loop of a SIMD_CLONES function around
// them vectorises. Errors against float64 over the float32 inputs: exp 1.1 ulp, sigmoid 2.4 ulp (results
// below 3e-39 become 0), tanh 1.4 ulp. NaN gives NaN; exp rounds through the subnormals to 0 and overflows to
// infinity where expf does. What a model takes most often has forms of its own: 2^t for exponents that are no
// subnormals, and the gate of QuickGELU.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

#define VECTOR_INLINE static inline __attribute__((always_inline))

namespace native {

VECTOR_INLINE float bits_as_float(uint32_t word) {
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}

VECTOR_INLINE uint32_t float_as_bits(float value) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  return word;
}

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2: n by adding 1.5 * 2^23, r by subtracting n ln 2
// in two parts, e^r by a minimax polynomial, and 2^n as a product of two powers, each a normal float32.
VECTOR_INLINE float vector_exp(float x) {
  constexpr float kRounder = 12582912.0f;
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const float shifted = x * 1.44269504f + kRounder;
  const float n = shifted - kRounder;
  float r = x - n * 0.693359375f;
  r -= n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  uint32_t word;
  std::memcpy(&word, &shifted, 4);
  const int32_t exponent = static_cast<int32_t>(word - 0x4B400000u);
  const int32_t half = exponent >> 1;
  const float low = bits_as_float(static_cast<uint32_t>(half + 127) << 23);
  const float high = bits_as_float(static_cast<uint32_t>(exponent - half + 127) << 23);
  return p * low * high;
}

// t to 2^t, within 1.8 ulp for -126.5 < t < 127.5; from there to 128.5 infinity, down to -127.5 zero. V is
// float or a vector of floats, and Bits alike of integers. With n = round(t) and r = t - n, adding
// 1.5 * 2^23 + 127 leaves the exponent field of 2^n in the lowest bits.
template <class V, class Bits>
VECTOR_INLINE void exp2_normal(V& t) {
  constexpr float kRounder = 12582912.0f + 127.0f;
  V power = t + kRounder;
  const V r = t - (power - kRounder);
  V p = r * 1.5326463e-4f + 1.3390806e-3f;
  p = p * r + 9.6185060e-3f;
  p = p * r + 5.5503600e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314720e-1f;
  p = p * r + 1.0f;
  Bits bits;
  std::memcpy(&bits, &power, sizeof(V));
  bits <<= 23;
  std::memcpy(&power, &bits, sizeof(V));
  t = p * power;
}

VECTOR_INLINE float vector_sigmoid(float x) { return 1.0f / (1.0f + vector_exp(-x)); }

// sigmoid(1.702 u), by which QuickGELU multiplies u: to 1e-7 of 1, and u times it to 1.5e-7 of u. Limiting
// u to -52 .. 51, where it is 0 and 1, by its bits costs less than by value and lets NaN be 0 or 1, with
// which u is NaN all the same.
VECTOR_INLINE float vector_quick_gate(float u) {
  constexpr int32_t kHigh = 0x424C0000;   // 51
  constexpr uint32_t kLow = 0xC2500000u;  // -52; negative numbers rise as their bits fall
  const int32_t from_above = static_cast<int32_t>(float_as_bits(u));
  const uint32_t from_below = static_cast<uint32_t>(from_above < kHigh ? from_above : kHigh);
  const float limited = bits_as_float(from_below < kLow ? from_below : kLow);
  float e = limited * -2.45546696f;  // -1.702 log2(e)
  exp2_normal<float, uint32_t>(e);
  return 1.0f / (1.0f + e);
}

// 1 - 2 / (e^2|x| + 1) away from zero, an odd polynomial near it where that cancels.
VECTOR_INLINE float vector_tanh(float x) {
  const float magnitude = x < 0.0f ? -x : x;
  const float square = x * x;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const float near = p * square * x + x;
  const float far = 1.0f - 2.0f / (vector_exp(2.0f * magnitude) + 1.0f);
  const float signed_far = x < 0.0f ? -far : far;
  return magnitude < 0.625f ? near : signed_far;
}

// log x for normal x >= 1, within 2e-7 of its size or of 1. With x = 2^n m, m from sqrt(1/2) to sqrt(2), and
// s = (m - 1) / (m + 1), log m = 2 (s + s^3/3 + s^5/5 + ...). NaN gives NaN.
VECTOR_INLINE float vector_log_of_many(float x) {
  const int32_t bits = static_cast<int32_t>(float_as_bits(x));
  const int32_t n = (bits - 0x3F3504F3) >> 23;
  const float f = bits_as_float(static_cast<uint32_t>(bits - (n << 23))) - 1.0f;
  const float s = f / (f + 2.0f), square = s * s;
  float p = 2.0f / 9.0f;
  p = p * square + 2.0f / 7.0f;
  p = p * square + 2.0f / 5.0f;
  p = p * square + 2.0f / 3.0f;
  const float log_m = p * square * s + 2.0f * s;
  return static_cast<float>(n) * 0.693147181f + log_m + (x - x);
}

// *target = value, rounded to the element type. Assigning a bfloat16 as a whole (`*target = T(value)`) is a
// struct copy, which the vectoriser refuses.
VECTOR_INLINE void store(float* target, float value) { *target = value; }
VECTOR_INLINE void store(bfloat16* target, float value) { target->bits = bfloat16(value).bits; }

}  // namespace native
