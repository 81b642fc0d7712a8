// Rows scaled to unit Euclidean length: y = x / max(|x|, eps) over the last dimension.
#pragma once

#include <tuple>

#include "core/kernel.h"

namespace native {

struct L2NormalizeArgs {
  const void* x;  // [rows, dim]
  void* y;        // [rows, dim]
  float* norm;    // [rows] max(|x|, eps)
  int64_t rows, dim;
  float eps;
  DType dtype;  // of x and y: a floating type
};

struct L2NormalizeBackwardArgs {
  const void* dy;  // [rows, dim]
  const void* x;   // [rows, dim] the operand
  const float* norm;
  void* dx;
  int64_t rows, dim;
  float eps;
  DType dtype;
};

DECLARE_KERNEL(l2_normalize_forward, L2NormalizeArgs);
DECLARE_KERNEL(l2_normalize_backward, L2NormalizeBackwardArgs);

// x [..., D]: y as x, and the float32 norms of the rows.
std::tuple<Tensor, Tensor> l2_normalize_forward(const Tensor& x, double eps);

Tensor l2_normalize_backward(const Tensor& dy, const Tensor& x, const Tensor& norm, double eps);

}  // namespace native
