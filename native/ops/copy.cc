#include "ops/copy.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(fill, FillArgs);
DEFINE_KERNEL(cast, CastArgs);
DEFINE_KERNEL(accumulate, AccumulateArgs);

namespace {

void check_same_shape(const char* op, const Tensor& y, const Tensor& x) {
  CHECK(y.shape() == x.shape(), "ERR_SHAPE", op, ": source ", x.describe(), " does not fit target ",
        y.describe());
}

}  // namespace

Tensor full(const Shape& shape, double value, DType dtype, DeviceType device) {
  Tensor y = empty(shape, dtype, device);
  launch(fill_kernel, FillArgs{y.raw(), value, y.numel(), dtype}, {&y});
  return y;
}

Tensor cast(const Tensor& x, DType dtype) {
  Tensor y = empty(x.shape(), dtype, x.device());
  launch(cast_kernel, CastArgs{x.raw(), y.raw(), x.numel(), x.dtype(), dtype}, {&x});
  return y;
}

void copy_into(const Tensor& y, const Tensor& x) {
  check_same_shape("copy_into", y, x);
  if (y.raw() == x.raw()) return;  // onto itself: what a copy does between ranges that overlap is undefined
  launch(cast_kernel, CastArgs{x.raw(), y.raw(), x.numel(), x.dtype(), y.dtype()}, {&y, &x});
}

void accumulate(const Tensor& y, const Tensor& x) {
  check_same_shape("accumulate", y, x);
  check_float("accumulate", "the target", y);
  check_float("accumulate", "the source", x);
  launch(accumulate_kernel, AccumulateArgs{y.raw(), x.raw(), x.numel(), y.dtype(), x.dtype()}, {&y, &x});
}

}  // namespace native
