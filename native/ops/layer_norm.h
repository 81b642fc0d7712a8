// Layer normalisation over the last dimension: y = (x - mean) / sqrt(variance + eps) * weight + bias,
// statistics in float32 by two passes.
//
// With `append` (one extra row per sequence, as a message token behind its frame's tokens) x is [N, L, D],
// append is [N, D] and y is [N, L + 1, D]: the concatenation is normalised without ever being stored.
#pragma once

#include <optional>
#include <tuple>

#include "core/kernel.h"

namespace native {

struct LayerNormArgs {
  const void* x;        // [sequences, length, dim]
  const void* append;   // [sequences, dim] or null
  const float* weight;  // [dim]
  const float* bias;    // [dim]
  void* y;              // [sequences, length + (append ? 1 : 0), dim]
  float* mean;          // [rows of y]
  float* rstd;          // [rows of y]
  int64_t sequences, length, dim;
  float eps;
  DType dtype;  // of x, append and y: a floating type
};

struct LayerNormBackwardArgs {
  const void* dy;  // as y
  const void* x;
  const void* append;
  const float* weight;
  const float* mean;
  const float* rstd;
  const void* residual;  // [sequences, length, dim] added to dx, or null
  void* dx;              // as x
  void* dappend;         // as append, or null
  float* dweight;        // [dim]
  float* dbias;          // [dim]
  int64_t sequences, length, dim;
  DType dtype;
};

DECLARE_KERNEL(layer_norm_forward, LayerNormArgs);
DECLARE_KERNEL(layer_norm_backward, LayerNormBackwardArgs);

// x [..., D] (or [N, L, D] with append [N, D]); weight, bias float32 [D]. Returns y, mean and rstd.
std::tuple<Tensor, Tensor, Tensor> layer_norm_forward(const Tensor& x, const std::optional<Tensor>& append,
                                                      const Tensor& weight, const Tensor& bias, double eps);

// Returns dx (+ residual), dappend, dweight, dbias.
std::tuple<Tensor, std::optional<Tensor>, Tensor, Tensor> layer_norm_backward(
    const Tensor& dy, const Tensor& x, const std::optional<Tensor>& append, const Tensor& weight,
    const Tensor& mean, const Tensor& rstd, const std::optional<Tensor>& residual);

}  // namespace native
