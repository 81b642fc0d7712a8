#include "ops/binary.h"

#include <algorithm>
#include <iterator>

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(binary, BinaryArgs);

namespace {

constexpr const char* kNames[] = {"add",     "sub", "mul",       "div",  "maximum",
                                  "minimum", "pow", "heaviside", "equal"};

Tensor apply(BinaryOp op, const Tensor& a, const Tensor& b) {
  const char* name = kNames[static_cast<int>(op)];
  check_float(name, "a", a);
  check_float(name, "b", b);
  CHECK(a.dtype() == b.dtype() || a.dtype() == DType::float32 || b.dtype() == DType::float32, "ERR_DTYPE",
        name, ": ", a.describe(), " and ", b.describe(), " do not combine: cast one of them");
  const Shape shape = broadcast_shape(name, a, b);
  Tensor y = empty(shape, std::max(a.dtype(), b.dtype()), common_device(name, {&a, &b}));
  launch(binary_kernel,
         BinaryArgs{a.raw(), b.raw(), y.raw(),
                    strided_loop(name, shape, broadcast_strides(a, shape), broadcast_strides(b, shape)),
                    y.numel(), op, a.dtype(), b.dtype(), y.dtype()},
         {&a, &b});
  return y;
}

}  // namespace

Tensor binary(const std::string& op, const Tensor& a, const Tensor& b) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), op);
  CHECK(found != std::end(kNames), "ERR_ARGUMENT", "binary: unknown function '", op, "'");
  return apply(static_cast<BinaryOp>(found - kNames), a, b);
}

Tensor add(const Tensor& a, const Tensor& b) { return apply(BinaryOp::add, a, b); }

}  // namespace native
