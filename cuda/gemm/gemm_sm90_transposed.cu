// A [k, m], results in 16 bits: the second gradient of a matrix product. One tile; these products are small.
#include "gemm/gemm_sm90_kernel.cuh"

namespace native::cuda {

void launch_sm90_transposed(const Sm90Launch& launch, Major b, DType dtype) {
  visit_half(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (b == Major::k) {
      launch_tile<T, T, Cooperative128x128, Major::mn, Major::k>(launch);
    } else {
      launch_tile<T, T, Cooperative128x128, Major::mn, Major::mn>(launch);
    }
  });
}

}  // namespace native::cuda
