// What tests and sweeps need of the float32 product beyond gemm.h.
#pragma once

#include "gemm/gemm.h"
#include "gemm/tile_table.h"

namespace native::cuda {

// gemm_simt with a given tiling: kind 0 is 128 x 128, 1 is 64 x 64; slabs >= 1.
void gemm_simt(const GemmArgs& args, const Tiling& tiling);

}  // namespace native::cuda
