#include "ops/l2_normalize.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(l2_normalize_forward, L2NormalizeArgs);
DEFINE_KERNEL(l2_normalize_backward, L2NormalizeBackwardArgs);

namespace {

int64_t row_count(const Tensor& x) { return x.size(-1) ? x.numel() / x.size(-1) : 0; }

}  // namespace

std::tuple<Tensor, Tensor> l2_normalize_forward(const Tensor& x, double eps) {
  CHECK(x.ndim() >= 1, "ERR_SHAPE", "l2_normalize: x needs at least one dimension, got ", x.describe());
  check_float("l2_normalize", "x", x);
  CHECK(eps >= 0, "ERR_ARGUMENT", "l2_normalize: eps must not be negative, got ", eps);
  Tensor y = empty_like(x);
  Tensor norm = empty({row_count(x)}, DType::float32, x.device());
  launch(l2_normalize_forward_kernel,
         L2NormalizeArgs{x.raw(), y.raw(), norm.data<float>(), row_count(x), x.size(-1),
                         static_cast<float>(eps), x.dtype()},
         {&x});
  return {y, norm};
}

Tensor l2_normalize_backward(const Tensor& dy, const Tensor& x, const Tensor& norm, double eps) {
  CHECK(x.ndim() >= 1 && dy.shape() == x.shape() && dy.dtype() == x.dtype() && norm.numel() == row_count(x) &&
            norm.dtype() == DType::float32,
        "ERR_SHAPE", "l2_normalize: gradient ", dy.describe(), " and norms ", norm.describe(),
        " do not belong to ", x.describe());
  check_float("l2_normalize", "the gradient", dy);
  Tensor dx = empty_like(x);
  launch(l2_normalize_backward_kernel,
         L2NormalizeBackwardArgs{dy.raw(), x.raw(), norm.data<float>(), dx.raw(), row_count(x), x.size(-1),
                                 static_cast<float>(eps), x.dtype()},
         {&dy, &x, &norm});
  return dx;
}

}  // namespace native
