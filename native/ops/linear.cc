#include "ops/linear.h"

#include "core/launch.h"
#include "core/weight_packing.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(linear_forward, LinearArgs);
DEFINE_KERNEL(linear_backward_slope, LinearBackwardSlopeArgs);
DEFINE_KERNEL(linear_backward_input, LinearBackwardInputArgs);
DEFINE_KERNEL(linear_backward_weight, LinearBackwardWeightArgs);
DEFINE_KERNEL(linear_backward_bias, LinearBackwardBiasArgs);

namespace {

void check_operand(const char* what, const Tensor& x) {
  check_float("linear", what, x);
  CHECK(x.ndim() >= 1, "ERR_SHAPE", "linear: ", what, " needs at least one dimension, got ", x.describe());
}

// The product of all dimensions but the last.
int64_t row_count(const Tensor& x) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.ndim(); ++i) rows *= x.size(i);
  return rows;
}

Shape with_last(const Tensor& x, int64_t size) {
  Shape shape = x.shape();
  shape.back() = size;
  return shape;
}

// `into`, or a new float32 tensor of that shape.
Tensor gradient_target(const std::optional<Tensor>& into, const Shape& shape, const Tensor& du) {
  if (!into) return empty(shape, DType::float32, du.device());
  CHECK(into->dtype() == DType::float32 && into->shape() == shape, "ERR_SHAPE",
        "linear: the gradient to add to must be float32", shape_string(shape), ", got ", into->describe());
  return *into;
}

}  // namespace

std::tuple<Tensor, std::optional<Tensor>> linear_forward(const Tensor& x, const Tensor& weight,
                                                         const std::optional<Tensor>& bias,
                                                         const std::optional<Tensor>& residual,
                                                         const std::string& activation, bool save_slope) {
  check_operand("x", x);
  CHECK(weight.dtype() == x.dtype(), "ERR_DTYPE", "linear: weight ", weight.describe(), " and x ",
        x.describe(), " must have one dtype");
  CHECK(weight.ndim() == 2 && weight.size(1) == x.size(-1), "ERR_SHAPE", "linear: weight must be [out, ",
        x.size(-1), "] for x ", x.describe(), ", got ", weight.describe());
  CHECK(activation == "none" || activation == "quick_gelu", "ERR_ARGUMENT",
        "linear: activation must be none or ", "quick_gelu, got '", activation, "'");
  const int64_t out = weight.size(0);
  CHECK(!bias || (bias->dtype() == DType::float32 && bias->shape() == Shape{out}), "ERR_SHAPE",
        "linear: bias must be float32[", out, "], got ", bias->describe());
  const Shape shape = with_last(x, out);
  CHECK(!residual || (residual->dtype() == x.dtype() && residual->shape() == shape), "ERR_SHAPE",
        "linear: residual must be ", dtype_name(x.dtype()), shape_string(shape), ", got ",
        residual->describe());
  const bool quick_gelu = activation == "quick_gelu";
  Tensor y = empty(shape, x.dtype(), x.device());
  std::optional<Tensor> slope;
  if (quick_gelu && save_slope) slope = empty_like(y);
  if (bias) common_device("linear_forward", {&x, &*bias});
  if (residual) common_device("linear_forward", {&x, &*residual});
  LinearArgs args{x.raw(),
                  nullptr,
                  bias ? bias->data<float>() : nullptr,
                  residual ? residual->raw() : nullptr,
                  y.raw(),
                  slope ? slope->raw() : nullptr,
                  row_count(x),
                  x.size(-1),
                  out,
                  false,
                  quick_gelu,
                  x.dtype()};
  // Last: an operand that shares its memory wants the order.
  const WeightAddress address = address_for_linear(weight, args.rows);
  args.weight = address.data;
  args.weight_packed = address.packed;
  launch(linear_forward_kernel, args, {&x, &weight});
  return {y, slope};
}

Tensor linear_backward_slope(const Tensor& dy, const Tensor& slope) {
  check_operand("gradient", dy);
  CHECK(dy.dtype() == slope.dtype() && dy.shape() == slope.shape(), "ERR_SHAPE", "linear: gradient ",
        dy.describe(), " does not belong to slope ", slope.describe());
  Tensor du = empty_like(dy);
  launch(linear_backward_slope_kernel,
         LinearBackwardSlopeArgs{dy.raw(), slope.raw(), du.raw(), dy.numel(), dy.dtype()}, {&dy, &slope});
  return du;
}

Tensor linear_backward_input(const Tensor& du, const Tensor& weight, const std::optional<Tensor>& slope) {
  check_operand("gradient", du);
  CHECK(weight.dtype() == du.dtype() && weight.ndim() == 2 && weight.size(0) == du.size(-1), "ERR_SHAPE",
        "linear: gradient ", du.describe(), " does not belong to weight ", weight.describe());
  Tensor dx = empty(with_last(du, weight.size(1)), du.dtype(), du.device());
  CHECK(!slope || (slope->dtype() == dx.dtype() && slope->shape() == dx.shape()), "ERR_SHAPE",
        "linear: slope must be ", dx.describe(), ", got ", slope->describe());
  if (slope) common_device("linear_backward_input", {&du, &*slope});
  launch(linear_backward_input_kernel,
         LinearBackwardInputArgs{du.raw(), weight.raw(), slope ? slope->raw() : nullptr, dx.raw(),
                                 row_count(du), weight.size(1), weight.size(0), du.dtype()},
         {&du, &weight});
  return dx;
}

std::tuple<std::optional<Tensor>, std::optional<Tensor>> linear_backward_weight(
    const Tensor& du, const Tensor& x, const std::optional<Tensor>& into, bool bias,
    const std::optional<Tensor>& bias_into) {
  check_operand("gradient", du);
  check_operand("x", x);
  CHECK(du.dtype() == x.dtype() && row_count(du) == row_count(x), "ERR_SHAPE", "linear: gradient ",
        du.describe(), " does not belong to x ", x.describe());
  CHECK(bias || !bias_into, "ERR_ARGUMENT", "linear: bias_into is given, but no gradient of a bias is asked");
  Tensor dweight = gradient_target(into, {du.size(-1), x.size(-1)}, du);
  std::optional<Tensor> dbias;
  if (bias) dbias = gradient_target(bias_into, {du.size(-1)}, du);
  if (dbias) common_device("linear_backward_weight", {&du, &*dbias});
  launch(linear_backward_weight_kernel,
         LinearBackwardWeightArgs{du.raw(), x.raw(), dweight.data<float>(),
                                  dbias ? dbias->data<float>() : nullptr, row_count(x), x.size(-1),
                                  du.size(-1), into.has_value(), bias_into.has_value(), x.dtype()},
         {&du, &x, &dweight});
  return {into ? std::nullopt : std::optional(dweight), bias_into ? std::nullopt : dbias};
}

std::optional<Tensor> linear_backward_bias(const Tensor& du, const std::optional<Tensor>& into) {
  check_operand("gradient", du);
  Tensor dbias = gradient_target(into, {du.size(-1)}, du);
  launch(linear_backward_bias_kernel,
         LinearBackwardBiasArgs{du.raw(), dbias.data<float>(), row_count(du), du.size(-1), into.has_value(),
                                du.dtype()},
         {&du, &dbias});
  return into ? std::nullopt : std::optional(dbias);
}

}  // namespace native
