// Which implementation of the matrix product runs.
#include "core/error.h"
#include "gemm/gemm.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm90.h"
#include "gemm/tiled_gemm.cuh"
#include "runtime/context.h"

namespace native::cuda {
namespace {

void check(const GemmArgs& args) {
  const GemmEpilogue& e = args.epilogue;
  CHECK(args.m <= INT32_MAX && args.n <= INT32_MAX && args.k <= INT32_MAX, "ERR_SHAPE", "matrix product [",
        args.m, ", ", args.n, ", ", args.k, "]: sizes are at most 2^31 - 1");
  CHECK(args.c_dtype == args.dtype || args.c_dtype == DType::float32, "ERR_DTYPE", "matrix product of ",
        dtype_name(args.dtype), " into ", dtype_name(args.c_dtype), ": use that dtype or float32");
  CHECK(!e.accumulate || args.c_dtype == DType::float32, "ERR_DTYPE",
        "matrix product: only float32 accumulates, not ", dtype_name(args.c_dtype));
  CHECK(!e.slope || e.quick_gelu, "ERR_INTERNAL",
        "matrix product: a slope is QuickGELU's, which is not asked for");
  CHECK(!e.row_sum || args.batch == 1, "ERR_INTERNAL", "matrix product: row sums of one matrix, not ",
        args.batch);
}

// On Hopper both kinds of tensor-core products run. wgmma is faster by kWgmmaGain, but in tiles of 128 x 128
// and more: where those leave most of the device idle, smaller tiles of the other kind, or more slabs, win.
void gemm_on_hopper(const GemmArgs& args) {
  constexpr float kWgmmaGain = 1.6f;
  const int multiprocessors = current_context().multiprocessors();
  const Sm90Choice choice = choose_sm90(args);
  const Tiling tiling = gemm_sm80_tiling(args);
  const Sm90TileShape tile = kSm90TileShapes[static_cast<int>(choice.tile)];
  const ProductShape shape = product_shape(args);
  const double large = tiles_cost({tile.m, tile.n, 64, kWgmmaGain}, choice.slabs, shape, multiprocessors);
  const TileKind& small = gemm_sm80_tiles()[static_cast<size_t>(tiling.kind)];
  if (gemm_sm80_supports(args) && tiling_cost(small, tiling.slabs, shape, multiprocessors) < large) {
    return gemm_sm80(args, tiling);
  }
  gemm_sm90(args, choice);
}

}  // namespace

void gemm(const GemmArgs& args) {
  check(args);
  if (args.m == 0 || args.n == 0 || args.batch == 0) return;
  const int capability = current_context().capability();
  if (capability >= 90 && gemm_sm90_supports(args)) return gemm_on_hopper(args);
  if (capability >= 80 && gemm_sm80_supports(args)) return gemm_sm80(args);
  gemm_simt(args);
}

}  // namespace native::cuda
