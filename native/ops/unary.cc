#include "ops/unary.h"

#include <algorithm>
#include <iterator>

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(unary_forward, UnaryArgs);
DEFINE_KERNEL(unary_backward, UnaryArgs);

namespace {

constexpr const char* kNames[] = {"neg",  "exp",     "log",  "sqrt", "rsqrt",      "abs", "square",
                                  "tanh", "sigmoid", "relu", "gelu", "quick_gelu", "sin", "cos"};

UnaryOp op_named(const std::string& name) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), name);
  CHECK(found != std::end(kNames), "ERR_ARGUMENT", "unary: unknown function '", name, "'");
  return static_cast<UnaryOp>(found - kNames);
}

}  // namespace

Tensor unary_forward(const std::string& op, const Tensor& x) {
  check_float(op.c_str(), "x", x);
  Tensor y = empty_like(x);
  launch(unary_forward_kernel, UnaryArgs{x.raw(), nullptr, y.raw(), x.numel(), op_named(op), x.dtype()},
         {&x});
  return y;
}

Tensor unary_backward(const std::string& op, const Tensor& dy, const Tensor& saved) {
  CHECK(dy.dtype() == saved.dtype() && dy.shape() == saved.shape(), "ERR_SHAPE", op, ": gradient ",
        dy.describe(), " does not belong to ", saved.describe());
  check_float(op.c_str(), "the gradient", dy);
  Tensor dx = empty_like(dy);
  launch(unary_backward_kernel,
         UnaryArgs{saved.raw(), dy.raw(), dx.raw(), dy.numel(), op_named(op), dy.dtype()}, {&dy, &saved});
  return dx;
}

}  // namespace native
