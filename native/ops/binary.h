// Elementwise functions of two operands with NumPy broadcasting. Arithmetic is float32; the result is
// bfloat16 or float16 as soon as one operand is, so that float32 parameters and scalars combine with 16-bit
// activations; those two do not combine.
#pragma once

#include <string>

#include "core/kernel.h"
#include "ops/strides.h"

namespace native {

enum class BinaryOp : uint8_t {
  add,
  sub,
  mul,
  div,
  maximum,  // NaN when either is NaN
  minimum,
  pow,
  heaviside,  // 1 where a > b, 1/2 where a = b, else 0: the derivative of maximum by a
  equal,      // 1 where a = b, else 0
};

struct BinaryArgs {
  const void* a;
  const void* b;
  void* y;           // contiguous, in the order of the loop
  StridedLoop loop;  // operands a and b
  int64_t numel;
  BinaryOp op;
  DType a_dtype, b_dtype, y_dtype;
};

DECLARE_KERNEL(binary, BinaryArgs);

// op: "add", "sub", "mul", "div", "maximum", "minimum", "pow", "heaviside" or "equal"; a and b of
// floating types.
Tensor binary(const std::string& op, const Tensor& a, const Tensor& b);

Tensor add(const Tensor& a, const Tensor& b);

}  // namespace native
