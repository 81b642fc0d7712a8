// From the run-time choice of tile and majors to one of the kernels; each element type has a file of its own
// that instantiates them.
#pragma once

#include <primitives/launch.h>

#include "gemm/gemm_sm80_kernel.cuh"

namespace native::cuda {

// Tile, bytes of a step, stages, warps, blocks per multiprocessor. 128 x 256 reads the least of A and B per
// product; the small ones fill the device when C is small. Of blocks that are large two hide each other's
// waits, so they fit on every device: capability 8.6 and 8.9 have the least shared memory.
using Sm80Wide = Sm80Shape<128, 256, 64, 3, 2, 4, 1>;
using Sm80Square = Sm80Shape<128, 128, 64, 3, 2, 2, 2>;
using Sm80Narrow = Sm80Shape<128, 64, 64, 4, 4, 1, 3>;
using Sm80Small = Sm80Shape<64, 64, 128, 3, 2, 2, 4>;
using Sm80SmallTf32 = Sm80Shape<64, 64, 128, 3, 2, 2, 3>;  // elements of 32 bits take more registers

// With what the system takes of each block. The others settle for fewer blocks where there is less room.
template <class Shape>
inline constexpr bool kFitsEveryDevice = (Shape::kSharedBytes + 1024) * Shape::kBlocks <= 100 << 10;
static_assert(kFitsEveryDevice<Sm80Wide> && kFitsEveryDevice<Sm80Square>);

template <class T, class Shape, Major kMajorA, Major kMajorB, bool kRowSums = false>
void run_sm80_kernel(const GemmArgs& args, int slabs) {
  run_tiled<T>(args, Shape::kTileM, Shape::kTileN, Shape::template kDepth<T>, slabs,
               [](const TiledGemm<T>& gemm, unsigned blocks) {
                 LaunchShape shape;
                 shape.grid = dim3(blocks);
                 shape.threads = Shape::kThreads;
                 shape.shared_bytes = Shape::kSharedBytes;
                 launch_kernel(gemm_sm80_kernel<T, Shape, kMajorA, kMajorB, kRowSums>, shape, gemm);
               });
}

template <class T, class Shape>
void run_sm80_shape(const GemmArgs& args, int slabs) {
  const bool a_by_k = args.a.major == Major::k, b_by_k = args.b.major == Major::k;
  if (args.epilogue.row_sum) return run_sm80_kernel<T, Shape, Major::mn, Major::mn, true>(args, slabs);
  if (a_by_k && b_by_k) return run_sm80_kernel<T, Shape, Major::k, Major::k>(args, slabs);
  if (a_by_k) return run_sm80_kernel<T, Shape, Major::k, Major::mn>(args, slabs);
  if (b_by_k) return run_sm80_kernel<T, Shape, Major::mn, Major::k>(args, slabs);
  run_sm80_kernel<T, Shape, Major::mn, Major::mn>(args, slabs);
}

// `kind` counts the shapes above.
template <class T>
void run_sm80(const GemmArgs& args, const Tiling& tiling) {
  switch (tiling.kind) {
    case 0:
      return run_sm80_shape<T, Sm80Wide>(args, tiling.slabs);
    case 1:
      return run_sm80_shape<T, Sm80Square>(args, tiling.slabs);
    case 2:
      return run_sm80_shape<T, Sm80Narrow>(args, tiling.slabs);
    case 3:
      return run_sm80_shape<T, Sm80Small>(args, tiling.slabs);
  }
  fail("ERR_INTERNAL", "gemm_sm80 has tiles 0 to 3, not ", tiling.kind);
}

extern template void run_sm80<bfloat16>(const GemmArgs& args, const Tiling& tiling);
extern template void run_sm80<float16>(const GemmArgs& args, const Tiling& tiling);
// float32: `kind` 0 is Sm80Square, 1 is Sm80SmallTf32.
void run_sm80_tf32(const GemmArgs& args, const Tiling& tiling);

}  // namespace native::cuda
