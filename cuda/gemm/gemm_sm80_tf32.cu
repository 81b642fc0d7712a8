// The kernels of gemm_sm80 for float32 operands that are rounded to tf32.
#include "gemm/gemm_sm80_launch.cuh"

namespace native::cuda {

void run_sm80_tf32(const GemmArgs& args, const Tiling& tiling) {
  tiling.kind == 0 ? run_sm80_shape<float, Sm80Square>(args, tiling.slabs)
                   : run_sm80_shape<float, Sm80SmallTf32>(args, tiling.slabs);
}

}  // namespace native::cuda
