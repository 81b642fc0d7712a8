// Reading and writing runs of elements as float32, so that a kernel is written once, over float32, and
// bfloat16 passes through a small buffer that stays in the first-level cache.
#pragma once

#include "core/dtype.h"

namespace native {

inline constexpr int64_t kFloatBlock = 1024;  // elements a buffer holds

// Elements offset .. offset + count - 1 of x as float32: x itself, or converted into `buffer`.
const float* read_floats(const void* x, DType dtype, int64_t offset, int64_t count, float* buffer);

// Where to compute elements that belong at y[offset]: y itself when it is float32, else `buffer`.
float* target_floats(void* y, DType dtype, int64_t offset, float* buffer);

// Completes target_floats: rounds `values` into y unless they are there already.
void write_floats(const float* values, void* y, DType dtype, int64_t offset, int64_t count);

}  // namespace native
