// The kernels of gemm_sm80 for bfloat16.
#include "gemm/gemm_sm80_launch.cuh"

namespace native::cuda {

template void run_sm80<bfloat16>(const GemmArgs& args, const Tiling& tiling);

}  // namespace native::cuda
