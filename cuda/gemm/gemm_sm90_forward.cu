// A [m, k] and B [n, k]: y = x Wᵀ.
#include "gemm/gemm_sm90_kernel.cuh"

namespace native::cuda {

void launch_sm90_forward(const Sm90Launch& launch, Sm90TileKind tile, DType dtype) {
  visit_half(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    switch (tile) {
      case Sm90TileKind::ping_pong_128x192:
        return launch_tile<T, T, PingPong128x192, Major::k, Major::k>(launch);
      case Sm90TileKind::cooperative_128x256:
        return launch_tile<T, T, Cooperative128x256, Major::k, Major::k>(launch);
      case Sm90TileKind::cooperative_256x192:
        return launch_tile<T, T, Cooperative256x192, Major::k, Major::k>(launch);
      case Sm90TileKind::cooperative_128x128:
        return launch_tile<T, T, Cooperative128x128, Major::k, Major::k>(launch);
    }
  });
}

}  // namespace native::cuda
