// A [k, m] and B [k, n], float32 results: dW = dyᵀ x, with the sum of dy over its rows as row sum.
#include "gemm/gemm_sm90_kernel.cuh"

namespace native::cuda {

void launch_sm90_weight(const Sm90Launch& launch, Sm90TileKind tile, DType dtype) {
  visit_half(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    switch (tile) {
      case Sm90TileKind::ping_pong_128x192:
        return launch_tile<T, float, PingPong128x192, Major::mn, Major::mn>(launch);
      case Sm90TileKind::cooperative_128x256:
        return launch_tile<T, float, Cooperative128x256, Major::mn, Major::mn>(launch);
      case Sm90TileKind::cooperative_256x192:
        return launch_tile<T, float, Cooperative256x192, Major::mn, Major::mn>(launch);
      case Sm90TileKind::cooperative_128x128:
        return launch_tile<T, float, Cooperative128x128, Major::mn, Major::mn>(launch);
    }
  });
}

}  // namespace native::cuda
