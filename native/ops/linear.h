// y = act(x Wᵀ + b) + residual over the last dimension, act the identity or QuickGELU: u sigmoid(1.702 u).
#pragma once

#include <optional>
#include <string>
#include <tuple>

#include "core/kernel.h"

namespace native {

struct LinearArgs {
  const void* x;         // [rows, in]
  const void* weight;    // [out, in]
  const float* bias;     // [out] or null
  const void* residual;  // [rows, out] or null
  void* y;               // [rows, out]
  void* slope;           // [rows, out]: d act / d u, or null; with QuickGELU only
  int64_t rows, in, out;
  bool quick_gelu;
  DType dtype;  // of x, weight, residual, y and slope: float32 or bfloat16
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
  void* dx;            // [rows, in]
  int64_t rows, in, out;
  DType dtype;
};

struct LinearBackwardWeightArgs {
  const void* du;  // [rows, out]
  const void* x;   // [rows, in]
  float* dweight;  // [out, in]
  int64_t rows, in, out;
  bool accumulate;  // add to dweight instead of writing it
  DType dtype;      // of du and x
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

// du = dy * slope: the gradient before the activation, which the three functions below take. All [..., out].
Tensor linear_backward_slope(const Tensor& dy, const Tensor& slope);

// dx = du W, [..., in].
Tensor linear_backward_input(const Tensor& du, const Tensor& weight);

// dW = duᵀ x, float32 [out, in]. With `into`, a float32 tensor of that shape, it is added there and nothing
// is returned.
std::optional<Tensor> linear_backward_weight(const Tensor& du, const Tensor& x,
                                             const std::optional<Tensor>& into);

// db = the sum of du over rows, float32 [out]; `into` as above.
std::optional<Tensor> linear_backward_bias(const Tensor& du, const std::optional<Tensor>& into);

}  // namespace native
