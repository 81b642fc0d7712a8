// Batched matrix product c = alpha op(a) op(b), op the identity or the transposition of the last two
// dimensions.
#pragma once

#include "core/kernel.h"

namespace native {

struct MatmulArgs {
  const void* a;  // [batch or 1, m, k], or [.., k, m] when transposed
  const void* b;  // [batch or 1, k, n], or [.., n, k] when transposed
  void* c;        // [batch, m, n], or [m, n] with sum_batch
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b;
  bool share_a, share_b;  // one matrix for the whole batch
  bool sum_batch;         // c is the sum over the batch
  float alpha;
  DType dtype;  // of a, b and c: a floating type
};

DECLARE_KERNEL(matmul_forward, MatmulArgs);

// a [..., m, k], b [..., k, n] of one dtype (last two dimensions swapped where transposed). The leading
// dimensions are equal, or those of one operand are all 1 or absent: it is shared. Returns [..., m, n]; with
// sum_batch its sum over the leading dimensions, [m, n], which is the gradient of a shared operand.
Tensor matmul_forward(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, double alpha,
                      bool sum_batch);

}  // namespace native
