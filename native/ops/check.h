// Checks that all dispatchers share. In the headers of this folder "a floating type" is one that the device
// computes in: float32 or bfloat16 on the CPU, float16 too on CUDA.
#pragma once

#include "core/tensor.h"

namespace native {

// "float32, bfloat16 or float16": the floating types that a device computes in.
std::string float_names(DeviceType device);

// Throws ERR_DTYPE unless x's device computes in its dtype. op and what name the operand: "softmax", "x".
void check_float(const char* op, const char* what, const Tensor& x);
void check_float(const char* op, const char* what, DType dtype, DeviceType device);

}  // namespace native
