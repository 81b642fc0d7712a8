#include "ops/softmax.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(softmax_forward, SoftmaxArgs);
DEFINE_KERNEL(softmax_backward, SoftmaxBackwardArgs);

namespace {

int64_t row_count(const Tensor& x) { return x.size(-1) ? x.numel() / x.size(-1) : 0; }

}  // namespace

Tensor softmax_forward(const Tensor& x, bool logarithm) {
  CHECK(x.ndim() >= 1, "ERR_SHAPE", "softmax: x needs at least one dimension, got ", x.describe());
  check_float("softmax", "x", x);
  Tensor y = empty_like(x);
  launch(softmax_forward_kernel,
         SoftmaxArgs{x.raw(), y.raw(), row_count(x), x.size(-1), logarithm, x.dtype()}, {&x});
  return y;
}

Tensor softmax_backward(const Tensor& dy, const Tensor& y, bool logarithm) {
  CHECK(dy.shape() == y.shape() && dy.dtype() == y.dtype() && y.ndim() >= 1, "ERR_SHAPE",
        "softmax: gradient ", dy.describe(), " does not belong to ", y.describe());
  check_float("softmax", "the gradient", dy);
  Tensor dx = empty_like(y);
  launch(softmax_backward_kernel,
         SoftmaxBackwardArgs{dy.raw(), y.raw(), dx.raw(), row_count(y), y.size(-1), logarithm, y.dtype()},
         {&dy, &y});
  return dx;
}

}  // namespace native
