// Reductions over any set of dimensions, which stay in the result with size 1. Sums are taken over fixed
// blocks that are combined in order, so a result does not depend on the number of threads.
#pragma once

#include <string>

#include "core/kernel.h"
#include "core/shape.h"

namespace native {

enum class ReduceOp : uint8_t { sum, max, min };

struct ReduceArgs {
  const void* x;  // [outer, length, inner]
  void* y;        // [outer, inner]
  int64_t outer, length, inner;
  float scale;  // multiplies a sum
  ReduceOp op;
  DType x_dtype, y_dtype;  // a floating type
};

struct ArgmaxArgs {
  const void* x;  // [outer, length, inner]
  int32_t* y;     // [outer, inner]
  int64_t outer, length, inner;
  DType dtype;  // of x
};

DECLARE_KERNEL(reduce, ReduceArgs);
DECLARE_KERNEL(argmax, ArgmaxArgs);

// op: "sum", "mean", "max" or "min". An empty `axes` reduces nothing. The result has `dtype`, intermediates
// are float32. Throws ERR_SHAPE for the largest or smallest of no elements.
Tensor reduce(const std::string& op, const Tensor& x, const std::vector<int64_t>& axes, DType dtype);

// Sums x over the dimensions along which `shape` was broadcast to x's: the gradient of a broadcast operand.
Tensor sum_to(const Tensor& x, const Shape& shape, DType dtype);

// int32 positions of the largest elements along `axis`, which is dropped; the first where several are equal,
// a NaN before any number.
Tensor argmax(const Tensor& x, int64_t axis);

}  // namespace native
