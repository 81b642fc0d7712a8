// The sum of a matrix over its rows, as the gradient of a bias needs it.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace native {

// sum[j] (+)= the sum over i of x[i, j]; x is [rows, columns] in float32 or bfloat16. Over fixed blocks of
// rows and the blocks in order, so the result does not depend on the number of threads.
void column_sum(const void* x, DType dtype, int64_t rows, int64_t columns, float* sum, bool accumulate);

}  // namespace native
