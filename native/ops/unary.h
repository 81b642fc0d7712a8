// Elementwise functions of one operand and their derivatives, computed in float32.
#pragma once

#include <string>

#include "core/kernel.h"

namespace native {

enum class UnaryOp : uint8_t {
  neg,
  exp,
  log,
  sqrt,
  rsqrt,  // 1 / sqrt(x)
  abs,
  square,
  tanh,
  sigmoid,
  relu,
  gelu,        // x Phi(x) with the exact normal distribution function
  quick_gelu,  // x sigmoid(1.702 x)
  sin,
  cos,
};

struct UnaryArgs {
  const void* x;   // [numel]
  const void* dy;  // [numel] for the derivative, else null
  void* y;         // [numel]: f(x), or dy f'
  int64_t numel;
  UnaryOp op;
  DType dtype;  // of all: a floating type
};

DECLARE_KERNEL(unary_forward, UnaryArgs);
DECLARE_KERNEL(unary_backward, UnaryArgs);

// op: the name of a UnaryOp.
Tensor unary_forward(const std::string& op, const Tensor& x);

// dy times the derivative, which is computed from `saved`: the result for exp, sqrt, rsqrt, tanh, sigmoid and
// relu, else the operand.
Tensor unary_backward(const std::string& op, const Tensor& dy, const Tensor& saved);

}  // namespace native
