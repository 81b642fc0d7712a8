// The float32 matrix product of machines with AMX, whose tiles take bfloat16.
#pragma once

#include "cpu/gemm.h"

namespace native {

// True for one float32 product with alpha 1 that is not small, on a machine whose AMX is in use.
bool amx_gemm_applies(const GemmArgs& args);

// The product, where amx_gemm_applies. Each number is the sum of three bfloat16 without a remainder, and of
// their nine products the three are left out that are below 2^-25 of the whole, so that results are as exact
// as those of float32 multiply-adds (G. Henry, P. T. P. Tang and A. Heinecke, "Leveraging the bfloat16
// Artificial Intelligence Datatype For Higher-Precision Computations", ARITH 2019). Products below 2^-126 are
// taken for 0. The order of every sum depends on k alone. Throws ERR_OUT_OF_MEMORY.
void amx_gemm(const GemmArgs& args);

}  // namespace native
