#include "gemm/gemm_choice.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm90.h"
#include "gemm/measured_tiles.h"
#include "gemm/tiled_gemm.cuh"
#include "runtime/context.h"

namespace native::cuda {
namespace {

Sm90Choice sm90_of(const GemmChoice& choice) {
  return {static_cast<Sm90TileKind>(choice.tile), choice.cluster, choice.slabs, choice.apart};
}

}  // namespace

bool gemm_supports(const GemmArgs& args, const GemmChoice& choice) {
  if (current_context().capability() < choice.kernels) return false;
  if (choice.kernels == 90) return gemm_sm90_supports(args, sm90_of(choice));
  return choice.kernels == 80 && choice.tile >= 0 &&
         choice.tile < static_cast<int>(gemm_sm80_tiles(args.dtype).size()) && choice.cluster == 1 &&
         choice.slabs >= 1 && !choice.apart && gemm_sm80_supports(args);
}

void run_gemm(const GemmArgs& args, const GemmChoice& choice) {
  choice.kernels == 90 ? gemm_sm90(args, sm90_of(choice)) : gemm_sm80(args, {choice.tile, choice.slabs});
}

std::optional<GemmChoice> choose_gemm(const GemmArgs& args) {
  const MeasuredTile* row = find_measured(args);
  // Views may lie where what was measured cannot reach them.
  if (row && gemm_supports(args, row->choice)) return row->choice;
  return estimated_gemm(args);
}

// On Hopper both kinds of tensor-core products run. wgmma is faster by kWgmmaGain, but in tiles of 128 x 128
// and more: where those leave most of the device idle, smaller tiles of the other kind, or more slabs, win.
std::optional<GemmChoice> estimated_gemm(const GemmArgs& args) {
  constexpr float kWgmmaGain = 1.6f;
  const Context& context = current_context();
  const bool wgmma = context.capability() >= 90 && gemm_sm90_supports(args);
  const bool mma = context.capability() >= 80 && gemm_sm80_supports(args);
  if (!wgmma && !mma) return std::nullopt;
  const auto of_mma = [&](const Tiling& tiling) { return GemmChoice{80, tiling.kind, 1, tiling.slabs}; };
  if (!wgmma) return of_mma(gemm_sm80_tiling(args));
  const Sm90Choice choice = choose_sm90(args);
  const GemmChoice large{90, static_cast<int>(choice.tile), choice.cluster, choice.slabs, choice.apart};
  if (!mma) return large;
  const Tiling tiling = gemm_sm80_tiling(args);
  const TileKind& small = gemm_sm80_tiles(args.dtype)[static_cast<size_t>(tiling.kind)];
  const Sm90TileShape tile = kSm90TileShapes[large.tile];
  const ProductShape shape = product_shape(args);
  const int multiprocessors = context.multiprocessors();
  const TileKind as_small{tile.m, tile.n, 64, kWgmmaGain};
  const double large_cost = choice.apart ? tiling_cost(as_small, choice.slabs, shape, multiprocessors)
                                         : tiles_cost(as_small, choice.slabs, shape, multiprocessors);
  return tiling_cost(small, tiling.slabs, shape, multiprocessors) < large_cost ? of_mma(tiling) : large;
}

}  // namespace native::cuda
