// y = act(x Wᵀ + b) + residual over the last dimension, act the identity or QuickGELU: u sigmoid(1.702 u).
#pragma once

#include <optional>
#include <string>
#include <tuple>

#include "core/kernel.h"

namespace native {

struct LinearArgs {
  const void* x;         // [rows, in]
  const void* weight;    // [out, in], or as the device's WeightPacking has it
  const float* bias;     // [out] or null
  const void* residual;  // [rows, out] or null
  void* y;               // [rows, out]
  void* slope;           // [rows, out]: d act / d u, or null; with QuickGELU only
  int64_t rows, in, out;
  bool weight_packed, quick_gelu;
  DType dtype;  // of x, weight, residual, y and slope: a floating type
};

struct LinearBackwardSlopeArgs {
  const void* dy;     // [count]
  const void* slope;  // [count]
  void* du;           // [count]
  int64_t count;
  DType dtype;
};

struct LinearBackwardInputArgs {
  const void* du;      // [rows, out]
  const void* weight;  // [out, in]
  const void* slope;   // [rows, in]: multiplies the result, or null
  void* dx;            // [rows, in]
  int64_t rows, in, out;
  DType dtype;
};

struct LinearBackwardWeightArgs {
  const void* du;  // [rows, out]
  const void* x;   // [rows, in]
  float* dweight;  // [out, in]
  float* dbias;    // [out]: the sum of du over rows, or null
  int64_t rows, in, out;
  bool accumulate;       // add to dweight instead of writing it
  bool accumulate_bias;  // the same for dbias
  DType dtype;           // of du and x
};

struct LinearBackwardBiasArgs {
  const void* du;  // [rows, out]
  float* dbias;    // [out]
  int64_t rows, out;
  bool accumulate;
  DType dtype;  // of du
};

DECLARE_KERNEL(linear_forward, LinearArgs);
DECLARE_KERNEL(linear_backward_slope, LinearBackwardSlopeArgs);
DECLARE_KERNEL(linear_backward_input, LinearBackwardInputArgs);
DECLARE_KERNEL(linear_backward_weight, LinearBackwardWeightArgs);
DECLARE_KERNEL(linear_backward_bias, LinearBackwardBiasArgs);

// x [..., in], weight [out, in] and residual [..., out] of one dtype, bias float32 [out]; activation "none"
// or "quick_gelu". Returns y [..., out] and, with save_slope and QuickGELU, the activation's derivative as y.
std::tuple<Tensor, std::optional<Tensor>> linear_forward(const Tensor& x, const Tensor& weight,
                                                         const std::optional<Tensor>& bias,
                                                         const std::optional<Tensor>& residual,
                                                         const std::string& activation, bool save_slope);

// du = dy * slope: the gradient before the activation, which the functions below take. All [..., out].
Tensor linear_backward_slope(const Tensor& dy, const Tensor& slope);

// dx = (du W) * slope, [..., in]. With `slope` [..., in], the derivative of an activation whose result this
// layer took, dx is the gradient before that activation. bfloat16 rounds once, after the product with slope.
Tensor linear_backward_input(const Tensor& du, const Tensor& weight, const std::optional<Tensor>& slope);

// dW = duᵀ x, float32 [out, in], and with `bias` db = the sum of du over rows, float32 [out], from one
// reading of du. With `into` (for dW) or `bias_into` (for db), a float32 tensor of that shape, the gradient
// is added there and null returned in its place.
std::tuple<std::optional<Tensor>, std::optional<Tensor>> linear_backward_weight(
    const Tensor& du, const Tensor& x, const std::optional<Tensor>& into, bool bias,
    const std::optional<Tensor>& bias_into);

// db alone, for a weight that takes no gradient; `into` as above.
std::optional<Tensor> linear_backward_bias(const Tensor& du, const std::optional<Tensor>& into);

}  // namespace native
