// The matrix product of machines with vectors of four numbers, for which oneDNN has no kernels or plain ones:
// arm64, and x86-64 before AVX.
#pragma once

#include "cpu/gemm.h"

namespace native {

bool baseline_gemm_applies();

// Any product but one with b in panels, where baseline_gemm_applies. The order of every sum depends on k
// alone. a_sum is left to the caller. Throws ERR_OUT_OF_MEMORY.
void baseline_gemm(const GemmArgs& args);

}  // namespace native
