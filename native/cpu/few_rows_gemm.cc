// Columns of b are dealt to the cores. Each reads its part of b once, front to back, two columns at a time;
// their sums with some rows of a, which stay in L1, are kept in registers. What is read soon is
// fetched into L2, where it does not push rows of a out of L1: memory sets the time, not the arithmetic.
#include "cpu/few_rows_gemm.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/epilogue.h"
#include "cpu/lanes.h"

namespace native {

#ifdef HAS_VECTOR_TARGETS

namespace {

constexpr int64_t kLine = 16, kMostRows = 15, kColumnPair = 2;
constexpr int64_t kAhead = 4096;  // floats of b between what is read and what is fetched

// As many as leave registers for what they are multiplied by.
template <int lanes>
constexpr int kRowGroup = lanes == 16 ? 8 : 4;

// c[i * c_row + j] = sum over p of a[i * a_row + p] b[j * k + p] + bias[j], for `rows` rows and `columns`
// columns, 1 or 2.
template <int lanes, int rows, int columns>
ALWAYS_INLINE void multiply_rows(const float* a, int64_t a_row, const float* b, int64_t k, const float* bias,
                                 float* c, int64_t c_row) {
  using V = typename Vector<lanes>::type;
  using Stored = typename Vector<lanes>::stored;
  V sum[rows][columns] = {};
#pragma GCC unroll 1
  for (int64_t p = 0; p < k; p += lanes) {
    V factor[columns];
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) {
      factor[j] = *reinterpret_cast<const Stored*>(b + j * k + p);
      __builtin_prefetch(b + j * k + p + kAhead, 0, kIntoL2);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const V x = *reinterpret_cast<const Stored*>(a + i * a_row + p);
#pragma GCC unroll 2
      for (int j = 0; j < columns; ++j) sum[i][j] += x * factor[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) {
      c[i * c_row + j] = combine_lanes<lanes>(sum[i][j], Plus{}) + (bias ? bias[j] : 0.0f);
    }
  }
}

template <int rows, int columns>
TARGET_AVX512 void multiply(Lanes<16>, const float* a, int64_t a_row, const float* b, int64_t k,
                            const float* bias, float* c, int64_t c_row) {
  multiply_rows<16, rows, columns>(a, a_row, b, k, bias, c, c_row);
}
template <int rows, int columns>
TARGET_AVX2 void multiply(Lanes<8>, const float* a, int64_t a_row, const float* b, int64_t k,
                          const float* bias, float* c, int64_t c_row) {
  multiply_rows<8, rows, columns>(a, a_row, b, k, bias, c, c_row);
}

// Calls multiply for the number of rows.
template <int lanes, int columns, int rows = kRowGroup<lanes>>
void dispatch_rows(int64_t count, const float* a, int64_t a_row, const float* b, int64_t k, const float* bias,
                   float* c, int64_t c_row) {
  if constexpr (rows > 0) {
    if (count == rows) return multiply<rows, columns>(Lanes<lanes>{}, a, a_row, b, k, bias, c, c_row);
    dispatch_rows<lanes, columns, rows - 1>(count, a, a_row, b, k, bias, c, c_row);
  }
}

template <int lanes>
void multiply_columns(const GemmArgs& g, int64_t begin, int64_t end) {
  const float *a = static_cast<const float*>(g.a.data), *b = static_cast<const float*>(g.b.data);
  float* c = static_cast<float*>(g.c);
  for (int64_t column = begin; column < end; column += kColumnPair) {
    const float* bias = g.bias ? g.bias + column : nullptr;
    for (int64_t row = 0; row < g.m; row += kRowGroup<lanes>) {
      (column + 1 < end ? dispatch_rows<lanes, 2>
                        : dispatch_rows<lanes, 1>)(std::min<int64_t>(kRowGroup<lanes>, g.m - row),
                                                   a + row * g.a.row, g.a.row, b + column * g.k, g.k, bias,
                                                   c + row * g.n + column, g.n);
    }
  }
  if (!(g.quick_gelu || g.factor || g.residual)) return;
  apply_epilogue({g.quick_gelu, g.slope, g.factor, g.residual}, g.c, DType::float32,
                 {begin, g.m, end - begin, g.n});
}

}  // namespace

bool few_rows_gemm_applies(const GemmArgs& g) {
  return lanes_in_use() > 0 && g.dtype == DType::float32 && g.result_dtype == DType::float32 &&
         g.batch == 1 && g.alpha == 1 && !g.accumulate && !g.a_sum && g.m > 0 && g.m <= kMostRows &&
         g.k > 0 && g.k % kLine == 0 && g.a.column == 1 && g.b.row == 1 && g.b.column == g.k;
}

void few_rows_gemm(const GemmArgs& g) {
  const auto multiply = lanes_in_use() == 16 ? multiply_columns<16> : multiply_columns<8>;
  // Whole lines of c for each core.
  parallel_for((g.n + kLine - 1) / kLine, 1,
               [&](int64_t begin, int64_t end) { multiply(g, begin * kLine, std::min(end * kLine, g.n)); });
}

#else

bool few_rows_gemm_applies(const GemmArgs&) { return false; }
void few_rows_gemm(const GemmArgs&) { fail("ERR_INTERNAL", "matrix product: AVX2 is not in this build"); }

#endif

}  // namespace native
