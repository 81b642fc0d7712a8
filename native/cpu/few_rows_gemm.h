// The float32 product of a few rows with a large weight, which is a matter of reading the weight.
#pragma once

#include "cpu/gemm.h"

namespace native {

// True for one float32 product c = a b of 1 to 15 rows with alpha 1 and k a multiple of 16, not accumulated,
// where rows of a and columns of b are contiguous, on a machine whose AVX-512 or AVX2 is in use.
bool few_rows_gemm_applies(const GemmArgs& args);

// The product, where few_rows_gemm_applies. The order of every sum depends on k alone, so results are the
// same on any number of threads.
void few_rows_gemm(const GemmArgs& args);

}  // namespace native
