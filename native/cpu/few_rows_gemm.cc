// Columns of b are dealt to the cores. Each reads its part of b once, front to back, two columns at a time;
// their sums with up to eight rows of a, which stay in L1, are kept in registers. What is read soon is
// fetched into L2, where it does not push rows of a out of L1: memory sets the time, not the arithmetic.
#include "cpu/few_rows_gemm.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/epilogue.h"
#include "cpu/isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace native {

#if defined(__x86_64__) && defined(__GNUC__)

#define AVX512 __attribute__((target("arch=x86-64-v4")))

namespace {

constexpr int64_t kLanes = 16, kMostRows = 15, kRowGroup = 8, kColumnPair = 2;
constexpr int64_t kAhead = 4096;  // floats of b between what is read and what is fetched

// By way of memory: compilers' headers make a half of a vector out of an undefined one, and warn of that.
AVX512 inline float sum_lanes(__m512 x) {
  alignas(64) float lanes[kLanes];
  _mm512_store_ps(lanes, x);
  const __m256 eight = _mm256_add_ps(_mm256_load_ps(lanes), _mm256_load_ps(lanes + 8));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// c[i * c_row + j] = sum over p of a[i * a_row + p] b[j * k + p] + bias[j], for `rows` rows and `columns`
// columns, 1 or 2.
template <int rows, int columns>
AVX512 void multiply(const float* a, int64_t a_row, const float* b, int64_t k, const float* bias, float* c,
                     int64_t c_row) {
  __m512 sum[rows][columns];
  for (auto& row : sum) {
    for (__m512& s : row) s = _mm512_setzero_ps();
  }
#pragma GCC unroll 1
  for (int64_t p = 0; p < k; p += kLanes) {
    __m512 factor[columns];
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) {
      factor[j] = _mm512_loadu_ps(b + j * k + p);
      _mm_prefetch(b + j * k + p + kAhead, _MM_HINT_T1);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const __m512 x = _mm512_loadu_ps(a + i * a_row + p);
#pragma GCC unroll 2
      for (int j = 0; j < columns; ++j) sum[i][j] = _mm512_fmadd_ps(x, factor[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) c[i * c_row + j] = sum_lanes(sum[i][j]) + (bias ? bias[j] : 0.0f);
  }
}

// Calls multiply for the number of rows.
template <int columns, int rows = kRowGroup>
void dispatch_rows(int64_t count, const float* a, int64_t a_row, const float* b, int64_t k, const float* bias,
                   float* c, int64_t c_row) {
  if constexpr (rows > 0) {
    if (count == rows) return multiply<rows, columns>(a, a_row, b, k, bias, c, c_row);
    dispatch_rows<columns, rows - 1>(count, a, a_row, b, k, bias, c, c_row);
  }
}

void multiply_columns(const GemmArgs& g, int64_t begin, int64_t end) {
  const float *a = static_cast<const float*>(g.a.data), *b = static_cast<const float*>(g.b.data);
  float* c = static_cast<float*>(g.c);
  for (int64_t column = begin; column < end; column += kColumnPair) {
    const float* bias = g.bias ? g.bias + column : nullptr;
    for (int64_t row = 0; row < g.m; row += kRowGroup) {
      (column + 1 < end ? dispatch_rows<2> : dispatch_rows<1>)(std::min(kRowGroup, g.m - row),
                                                               a + row * g.a.row, g.a.row, b + column * g.k,
                                                               g.k, bias, c + row * g.n + column, g.n);
    }
  }
  if (!(g.quick_gelu || g.factor || g.residual)) return;
  apply_epilogue({g.quick_gelu, g.slope, g.factor, g.residual}, g.c, DType::float32,
                 {begin, g.m, end - begin, g.n});
}

}  // namespace

bool few_rows_gemm_applies(const GemmArgs& g) {
  static const bool available = uses_avx512() && runs_x86_64_v4();
  return available && g.dtype == DType::float32 && g.result_dtype == DType::float32 && g.batch == 1 &&
         g.alpha == 1 && !g.accumulate && !g.a_sum && g.m > 0 && g.m <= kMostRows && g.k > 0 &&
         g.k % kLanes == 0 && g.a.column == 1 && g.b.row == 1 && g.b.column == g.k;
}

void few_rows_gemm(const GemmArgs& g) {
  // Whole lines of c for each core.
  parallel_for((g.n + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end) {
    multiply_columns(g, begin * kLanes, std::min(end * kLanes, g.n));
  });
}

#else

bool few_rows_gemm_applies(const GemmArgs&) { return false; }
void few_rows_gemm(const GemmArgs&) { fail("ERR_INTERNAL", "matrix product: AVX-512 is not in this build"); }

#endif

}  // namespace native
