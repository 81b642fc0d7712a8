// Moving and converting whole tensors: fill, cast, copy in place, accumulate in place.
#pragma once

#include <limits>

#include "core/kernel.h"
#include "core/shape.h"

namespace native {

// What a cast makes of a float: the integer next to it toward zero, the nearest end of the range where that
// lies outside, 0 of NaN. Without branches, so that loops over it vectorise.
template <class Int>
constexpr Int to_integer(float x) {
  constexpr Int kLeast = std::numeric_limits<Int>::min(), kMost = std::numeric_limits<Int>::max();
  constexpr float kEnd = 2 * static_cast<float>(kMost / 2 + 1);  // kMost + 1
  const Int inside = static_cast<Int>(x > static_cast<float>(kLeast) && x < kEnd ? x : 0.0f);
  const Int above = x <= static_cast<float>(kLeast) ? kLeast : inside;
  return x >= kEnd ? kMost : above;
}

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
// Floats become integers by to_integer; integers of other sizes keep their lowest bits.
Tensor cast(const Tensor& x, DType dtype);
// y = x, converted to y's dtype; same number of elements and shape.
void copy_into(const Tensor& y, const Tensor& x);
void accumulate(const Tensor& y, const Tensor& x);

}  // namespace native
