// What tests and sweeps need of the sm_80 product beyond gemm.h: any of its tilings on demand.
#pragma once

#include <vector>

#include "gemm/gemm.h"
#include "gemm/tile_table.h"

namespace native::cuda {

// The tiles there are kernels for, by the dtype of the operands.
const std::vector<TileKind>& gemm_sm80_tiles(DType dtype = DType::bfloat16);

// The tiling that gemm_sm80 takes for these arguments on this device.
Tiling gemm_sm80_tiling(const GemmArgs& args);

// gemm_sm80 with a given tiling, for arguments that it supports. slabs >= 1; more than there are steps is
// allowed.
void gemm_sm80(const GemmArgs& args, const Tiling& tiling);

}  // namespace native::cuda
