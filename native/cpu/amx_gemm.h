// Matrix products of machines with AMX, whose tiles multiply bfloat16 and add up float32.
#pragma once

#include "cpu/gemm.h"

namespace native {

// True for one product of float32 or bfloat16 with alpha 1 that is not small, on a machine whose AMX is in
// use.
bool amx_gemm_applies(const GemmArgs& args);

// The product, where amx_gemm_applies. The order of every sum depends on k alone. A float32 number is the sum
// of three of bfloat16 without a remainder, and of the nine products of parts the three are left out that are
// below 2^-25 of the whole, so that results are as exact as those of float32 multiply-adds (G. Henry, P. T.
// P. Tang and A. Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
// Computations", ARITH 2019). Parts and products below 2^-126 are taken for 0. Throws ERR_OUT_OF_MEMORY.
void amx_gemm(const GemmArgs& args);

}  // namespace native
