// Softmax and its logarithm over the last dimension, in float32 with the largest element subtracted.
#pragma once

#include "core/kernel.h"

namespace native {

struct SoftmaxArgs {
  const void* x;  // [rows, dim]
  void* y;        // [rows, dim]
  int64_t rows, dim;
  bool logarithm;
  DType dtype;  // of x and y: a floating type
};

struct SoftmaxBackwardArgs {
  const void* dy;  // [rows, dim]
  const void* y;   // [rows, dim] the result
  void* dx;        // [rows, dim]
  int64_t rows, dim;
  bool logarithm;
  DType dtype;
};

DECLARE_KERNEL(softmax_forward, SoftmaxArgs);
DECLARE_KERNEL(softmax_backward, SoftmaxBackwardArgs);

Tensor softmax_forward(const Tensor& x, bool logarithm);
Tensor softmax_backward(const Tensor& dy, const Tensor& y, bool logarithm);

}  // namespace native
