// Changes of layout, for every dtype: each is one or more copies of a strided block.
#pragma once

#include "core/kernel.h"
#include "ops/strides.h"

namespace native {

struct StridedCopyArgs {
  const void* x;
  void* y;
  StridedLoop loop;  // operands x and y
  int64_t numel;     // elements copied
  int64_t clear;     // bytes of y set to zero before, from `y_base`
  void* y_base;
  int element_size;  // bytes: 1, 2, 4 or 8
};

DECLARE_KERNEL(strided_copy, StridedCopyArgs);

// Joins tensors of equal dtype and of equal shape but for `axis`.
Tensor concatenate(const std::vector<Tensor>& list, int64_t axis);

// Elements start .. end - 1 of `axis`.
Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t end);

// The gradient of slice: zeros of `shape` with dy at start of `axis`.
Tensor slice_backward(const Tensor& dy, const Shape& shape, int64_t axis, int64_t start);

// Dimension i of the result is dimension axes[i] of x.
Tensor permute(const Tensor& x, const std::vector<int64_t>& axes);

// Repeats x along dimensions of size 1 (or missing in front) until it has `shape`.
Tensor expand(const Tensor& x, const Shape& shape);

}  // namespace native
