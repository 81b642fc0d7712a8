// The choice of a tiling for the sm_80 product, and its entry points.
#include "core/precision.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm80_launch.cuh"

namespace native::cuda {
namespace {

template <class T, class Shape>
constexpr TileKind tile(float rate) {
  return {Shape::kTileM, Shape::kTileN, Shape::template kDepth<T>, rate};
}

// The rates are estimates from the traffic of each tile, to be replaced by a sweep's.
constexpr TileKind kTiles[] = {tile<bfloat16, Sm80Wide>(0.92f), tile<bfloat16, Sm80Square>(0.88f),
                               tile<bfloat16, Sm80Narrow>(0.72f), tile<bfloat16, Sm80Small>(0.55f)};
constexpr TileKind kTf32Tiles[] = {tile<float, Sm80Square>(0.88f), tile<float, Sm80SmallTf32>(0.55f)};

template <class T>
bool supports(const GemmArgs& args) {
  return make_operand<T>(args.a).vectors && make_operand<T>(args.b).vectors;
}

}  // namespace

const std::vector<TileKind>& gemm_sm80_tiles(DType dtype) {
  static const std::vector<TileKind> tiles(std::begin(kTiles), std::end(kTiles));
  static const std::vector<TileKind> tf32(std::begin(kTf32Tiles), std::end(kTf32Tiles));
  return dtype == DType::float32 ? tf32 : tiles;
}

bool gemm_sm80_supports(const GemmArgs& args) {
  const bool both_by_mn = args.a.major == Major::mn && args.b.major == Major::mn;
  if (args.epilogue.row_sum && !both_by_mn) return false;
  return (args.dtype == DType::bfloat16 && supports<bfloat16>(args)) ||
         (args.dtype == DType::float16 && supports<float16>(args)) ||
         (args.dtype == DType::float32 && allow_tf32() && supports<float>(args));
}

Tiling gemm_sm80_tiling(const GemmArgs& args) {
  const ProductShape shape = product_shape(args);
  return args.dtype == DType::float32 ? remembered_tiling(kTf32Tiles, shape)
                                      : remembered_tiling(kTiles, shape);
}

void gemm_sm80(const GemmArgs& args, const Tiling& tiling) {
  if (args.dtype == DType::float32) return run_sm80_tf32(args, tiling);
  args.dtype == DType::bfloat16 ? run_sm80<bfloat16>(args, tiling) : run_sm80<float16>(args, tiling);
}

void gemm_sm80(const GemmArgs& args) { gemm_sm80(args, gemm_sm80_tiling(args)); }

}  // namespace native::cuda
