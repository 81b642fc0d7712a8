#include "ops/layer_norm.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(layer_norm_forward, LayerNormArgs);
DEFINE_KERNEL(layer_norm_backward, LayerNormBackwardArgs);

namespace {

struct Rows {
  int64_t sequences, length, dim;
};

Rows check_operands(const Tensor& x, const std::optional<Tensor>& append, const Tensor& weight,
                    const Tensor& bias) {
  CHECK(x.ndim() >= 1, "ERR_SHAPE", "layer_norm: x needs at least one dimension, got ", x.describe());
  check_float("layer_norm", "x", x);
  const int64_t dim = x.size(-1);
  for (const Tensor* parameter : {&weight, &bias}) {
    CHECK(parameter->dtype() == DType::float32 && parameter->shape() == Shape{dim}, "ERR_SHAPE",
          "layer_norm: weight and bias must be float32[", dim, "] for x ", x.describe(), ", got ",
          parameter->describe());
  }
  common_device("layer_norm", {&x, &weight, &bias, append ? &*append : &x});
  if (!append) return {dim ? x.numel() / dim : 0, 1, dim};
  CHECK(x.ndim() == 3 && append->shape() == (Shape{x.size(0), dim}) && append->dtype() == x.dtype(),
        "ERR_SHAPE", "layer_norm: append must be [N, D] for x [N, L, D], got ", append->describe(), " for ",
        x.describe());
  return {x.size(0), x.size(1), dim};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> layer_norm_forward(const Tensor& x, const std::optional<Tensor>& append,
                                                      const Tensor& weight, const Tensor& bias, double eps) {
  const Rows rows = check_operands(x, append, weight, bias);
  CHECK(eps >= 0, "ERR_ARGUMENT", "layer_norm: eps must not be negative, got ", eps);
  Shape shape = x.shape();
  if (append) shape[1] += 1;
  Tensor y = empty(shape, x.dtype(), x.device());
  const int64_t count = rows.sequences * (rows.length + (append ? 1 : 0));
  Tensor mean = empty({count}, DType::float32, x.device());
  Tensor rstd = empty({count}, DType::float32, x.device());
  launch(layer_norm_forward_kernel,
         LayerNormArgs{x.raw(), append ? append->raw() : nullptr, weight.data<float>(), bias.data<float>(),
                       y.raw(), mean.data<float>(), rstd.data<float>(), rows.sequences, rows.length, rows.dim,
                       static_cast<float>(eps), x.dtype()},
         {&x, &weight, &bias});
  return {y, mean, rstd};
}

std::tuple<Tensor, std::optional<Tensor>, Tensor, Tensor> layer_norm_backward(
    const Tensor& dy, const Tensor& x, const std::optional<Tensor>& append, const Tensor& weight,
    const Tensor& mean, const Tensor& rstd, const std::optional<Tensor>& residual) {
  const Rows rows = check_operands(x, append, weight, weight);
  const int64_t count = rows.sequences * (rows.length + (append ? 1 : 0));
  CHECK(dy.dtype() == x.dtype() && dy.numel() == count * rows.dim, "ERR_SHAPE", "layer_norm: gradient ",
        dy.describe(), " does not belong to x ", x.describe());
  for (const Tensor* statistic : {&mean, &rstd}) {
    CHECK(statistic->numel() == count && statistic->dtype() == DType::float32, "ERR_SHAPE",
          "layer_norm: statistics ", statistic->describe(), " do not belong to x ", x.describe());
  }
  CHECK(!residual || (residual->dtype() == x.dtype() && residual->numel() == x.numel()), "ERR_SHAPE",
        "layer_norm: residual gradient must be ", x.describe());
  if (residual) common_device("layer_norm", {&x, &*residual});
  Tensor dx = empty_like(x);
  std::optional<Tensor> dappend;
  if (append) dappend = empty_like(*append);
  Tensor dweight = empty_like(weight), dbias = empty_like(weight);
  launch(layer_norm_backward_kernel,
         LayerNormBackwardArgs{dy.raw(), x.raw(), append ? append->raw() : nullptr, weight.data<float>(),
                               mean.data<float>(), rstd.data<float>(), residual ? residual->raw() : nullptr,
                               dx.raw(), dappend ? dappend->raw() : nullptr, dweight.data<float>(),
                               dbias.data<float>(), rows.sequences, rows.length, rows.dim, x.dtype()},
         {&dy, &x, &weight, &mean, &rstd});
  return {dx, dappend, dweight, dbias};
}

}  // namespace native
