// The float32 matrix product of machines with AVX-512 or AVX2, for the large shapes of linear layers.
#pragma once

#include "cpu/gemm.h"

namespace native {

// Columns of the panels of GemmArgs::b_in_panels: 32 where AVX-512 is in use, 16 with AVX2, else 0.
int64_t blocked_gemm_panel();

// True for one float32 product with alpha 1, at least 16 rows and sizes n and k that are multiples of
// blocked_gemm_panel, on a machine where that is not 0.
bool blocked_gemm_applies(const GemmArgs& args);

// The product, where blocked_gemm_applies. The order of every sum depends on k alone, and with
// GemmArgs::normwise on m and n too, so results are the same on any number of threads. Throws
// ERR_OUT_OF_MEMORY.
void blocked_gemm(const GemmArgs& args);

}  // namespace native
