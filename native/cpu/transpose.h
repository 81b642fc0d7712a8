// A square of 16 by 16 numbers of 32 bits, transposed in AVX-512 registers, or of 8 by 8 in AVX registers.
#pragma once

#include <immintrin.h>

namespace native {

// Numbers within fours of lanes, then the fours. (The unmasked forms of these are warned of, for they make a
// vector of nothing.)
inline __attribute__((always_inline, target("avx512f"))) void transpose_square(__m512 (&x)[16]) {
  constexpr __mmask16 kAll = 0xFFFF;
  __m512 y[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_maskz_unpacklo_ps(kAll, x[i], x[i + 1]);
    y[i + 1] = _mm512_maskz_unpackhi_ps(kAll, x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_maskz_shuffle_ps(kAll, y[i], y[i + 2], 0x44);
    x[i + 1] = _mm512_maskz_shuffle_ps(kAll, y[i], y[i + 2], 0xEE);
    x[i + 2] = _mm512_maskz_shuffle_ps(kAll, y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm512_maskz_shuffle_ps(kAll, y[i + 1], y[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm512_maskz_shuffle_f32x4(kAll, x[i], x[i + 4], 0x88);
    y[i + 4] = _mm512_maskz_shuffle_f32x4(kAll, x[i], x[i + 4], 0xDD);
    y[i + 8] = _mm512_maskz_shuffle_f32x4(kAll, x[i + 8], x[i + 12], 0x88);
    y[i + 12] = _mm512_maskz_shuffle_f32x4(kAll, x[i + 8], x[i + 12], 0xDD);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    x[i] = _mm512_maskz_shuffle_f32x4(kAll, y[i], y[i + 8], 0x88);
    x[i + 8] = _mm512_maskz_shuffle_f32x4(kAll, y[i], y[i + 8], 0xDD);
  }
}

inline __attribute__((always_inline, target("avx"))) void transpose_square(__m256 (&x)[8]) {
  __m256 y[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44);
    x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xEE);
    x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
    y[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) x[i] = y[i];
}

}  // namespace native
