// Moving and converting whole tensors: fill, cast, copy in place, accumulate in place.
#pragma once

#include "core/kernel.h"
#include "core/shape.h"

namespace native {

struct FillArgs {
  void* y;  // [numel]
  double value;
  int64_t numel;
  DType dtype;
};

struct CastArgs {
  const void* x;  // [numel] of `from`
  void* y;        // [numel] of `to`
  int64_t numel;
  DType from, to;
};

struct AccumulateArgs {
  void* y;        // [numel], y += x
  const void* x;  // [numel]
  int64_t numel;
  DType y_dtype, x_dtype;  // a floating type each
};

DECLARE_KERNEL(fill, FillArgs);
DECLARE_KERNEL(cast, CastArgs);
DECLARE_KERNEL(accumulate, AccumulateArgs);

Tensor full(const Shape& shape, double value, DType dtype, DeviceType device);
// Integers from floats truncate toward zero.
Tensor cast(const Tensor& x, DType dtype);
// y = x, converted to y's dtype; same number of elements and shape.
void copy_into(const Tensor& y, const Tensor& x);
void accumulate(const Tensor& y, const Tensor& x);

}  // namespace native
