// The choice of a tiling for the sm_80 product, and its entry points.
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm80_launch.cuh"

namespace native::cuda {
namespace {

template <class Shape>
constexpr TileKind tile(float rate) {
  return {Shape::kTileM, Shape::kTileN, Shape::kDepth, rate};
}

// The rates are estimates from the traffic of each tile, to be replaced by a sweep's.
constexpr TileKind kTiles[] = {tile<Sm80Wide>(0.92f), tile<Sm80Square>(0.88f), tile<Sm80Narrow>(0.72f),
                               tile<Sm80Small>(0.55f)};

template <class T>
bool supports(const GemmArgs& args) {
  return make_operand<T>(args.a).vectors && make_operand<T>(args.b).vectors;
}

}  // namespace

const std::vector<TileKind>& gemm_sm80_tiles() {
  static const std::vector<TileKind> tiles(std::begin(kTiles), std::end(kTiles));
  return tiles;
}

bool gemm_sm80_supports(const GemmArgs& args) {
  const bool both_by_mn = args.a.major == Major::mn && args.b.major == Major::mn;
  if (args.epilogue.row_sum && !both_by_mn) return false;
  return (args.dtype == DType::bfloat16 && supports<bfloat16>(args)) ||
         (args.dtype == DType::float16 && supports<float16>(args));
}

Tiling gemm_sm80_tiling(const GemmArgs& args) { return remembered_tiling(kTiles, product_shape(args)); }

void gemm_sm80(const GemmArgs& args, const Tiling& tiling) {
  args.dtype == DType::bfloat16 ? run_sm80<bfloat16>(args, tiling) : run_sm80<float16>(args, tiling);
}

void gemm_sm80(const GemmArgs& args) { gemm_sm80(args, gemm_sm80_tiling(args)); }

}  // namespace native::cuda
