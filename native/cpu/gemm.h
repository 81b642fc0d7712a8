// The large matrix product of the CPU backend, with its epilogues: amx_gemm, few_rows_gemm, blocked_gemm or
// baseline_gemm where they apply, else oneDNN's. Runs on the calling thread's OpenMP team.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace native {

// One operand: element (i, j) of matrix number `b` is at data[b * batch + i * row + j * column]. One of row
// and column must be 1. batch = 0 shares one matrix among all.
struct GemmOperand {
  const void* data;
  int64_t batch, row, column;
};

// c = quick_gelu?(alpha a b + bias) factor + residual, or c += alpha a b. Sums are float32 whatever the
// dtypes.
struct GemmArgs {
  int64_t batch, m, n, k;
  GemmOperand a;       // [batch, m, k]
  GemmOperand b;       // [batch, k, n]
  void* c;             // [batch, m, n], contiguous
  DType dtype;         // of a and b: float32 or bfloat16
  DType result_dtype;  // of c and residual: float32 or `dtype`
  float alpha = 1;
  const float* bias = nullptr;     // [n]; with alpha = 1 only
  const void* factor = nullptr;    // as c; element by element; not together with accumulate
  const void* residual = nullptr;  // as c; not together with accumulate
  bool quick_gelu = false;         // u sigmoid(1.702 u)
  void* slope = nullptr;           // as c: takes the derivative of QuickGELU; with quick_gelu only
  bool accumulate = false;         // c is float32 then
  float* a_sum = nullptr;          // [m]: takes the sum of a over k; with batch 1 and a.row 1 only
  bool accumulate_a_sum = false;
  // b is in panels of `width` columns, element (p, j) at data[(j / width * k + p) * width + j % width],
  // aligned to 64 bytes; where blocked_gemm_applies only, and as wide as blocked_gemm_panel says.
  bool b_in_panels = false;
  // Errors may be relative to the largest rows of a and columns of b, instead of each element's own.
  bool normwise = false;
};

// Any size may be 0; with k = 0 the product is 0. Throws ERR_OUT_OF_MEMORY, or ERR_INTERNAL when oneDNN
// refuses.
void gemm(const GemmArgs& args);

}  // namespace native
