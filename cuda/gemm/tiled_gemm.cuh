// A product cut into tiles, as the kernels with one block per tile take it, and which tile a block computes.
//
// The summed dimension is walked in steps of `depth`; with sum_batch the steps of all the batch follow one
// another. It may be cut into slabs: then each block sums one slab of one tile, leaves float32 sums in
// scratch, and reduce_slabs (split_k.h) adds the slabs in order and applies the epilogue.
#pragma once

#include "common/vector.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/split_k.h"
#include "gemm/tile_table.h"

namespace native::cuda {

template <class T>
struct TiledOperand {
  const T* data;
  int64_t pitch, batch_stride;  // elements
  Major major;
  bool vectors;  // every row starts on 16 bytes
};

template <class T>
struct TiledGemm {
  TiledOperand<T> a, b;
  int m, n, k;
  int tiles_m, tiles_n;
  int slabs;
  int steps_per_matrix;  // of one pair of matrices
  int steps;             // of one sum: those of all the batch with sum_batch
  SlabSums sums;         // sums.data null: one slab, and the epilogue in the kernel
  Epilogue<T> epilogue;
};

// What one block computes: rows row .. of C, columns column .. of C, of one matrix of the batch; steps first
// .. last - 1 of the sum.
struct BlockTask {
  int row, column, batch, slab, first, last;
};

// Slabs are outermost, so that concurrent blocks share the part of A and B that they read. Within a slab the
// tiles go column by column through bands of kBand tile rows: neighbours in time are neighbours in both
// directions.
template <int kTileM, int kTileN, class T>
__device__ __forceinline__ BlockTask block_task(const TiledGemm<T>& gemm) {
  constexpr int kBand = 8;
  const int tiles = gemm.tiles_m * gemm.tiles_n, index = static_cast<int>(blockIdx.x);
  const int tile = index % tiles, outer = index / tiles;
  const int slab = outer % gemm.slabs, batch = outer / gemm.slabs;
  const int first_row = tile / (kBand * gemm.tiles_n) * kBand;
  const int band = gemm.tiles_m - first_row < kBand ? gemm.tiles_m - first_row : kBand;
  const int within = tile - first_row * gemm.tiles_n;
  const auto cut = [&](int s) { return static_cast<int>(static_cast<int64_t>(gemm.steps) * s / gemm.slabs); };
  return {
      (first_row + within % band) * kTileM, within / band * kTileN, batch, slab, cut(slab), cut(slab + 1)};
}

// Leaves kCount neighbouring sums of one row in the scratch of the block's slab.
template <int kCount, class T>
__device__ __forceinline__ void store_sums(const TiledGemm<T>& gemm, const BlockTask& task, int row,
                                           int column, const float (&values)[kCount]) {
  if (column >= gemm.sums.pitch) return;
  const int64_t matrix = static_cast<int64_t>(task.batch) * gemm.slabs + task.slab;
  store_floats(gemm.sums.data + (matrix * gemm.m + row) * gemm.sums.pitch + column, values);
}

template <class T>
TiledOperand<T> make_operand(const GemmOperand& operand) {
  const bool vectors = aligned({operand.data}) && operand.pitch % kVectorWidth<T> == 0 &&
                       operand.batch_stride % kVectorWidth<T> == 0;
  return {static_cast<const T*>(operand.data), operand.pitch, operand.batch_stride, operand.major, vectors};
}

// Whether the sums must pass through memory: the kernels write C in A's dtype only, and no row sums.
inline bool needs_sums(const GemmArgs& args, int slabs) {
  return slabs > 1 || args.c_dtype != args.dtype || args.epilogue.row_sum;
}

inline ProductShape product_shape(const GemmArgs& args) {
  return {args.m, args.n, args.sum_batch ? args.k * args.batch : args.k, args.sum_batch ? 1 : args.batch,
          needs_sums(args, 1)};
}

// choose_tiling for the current device.
template <int kKinds>
Tiling remembered_tiling(const TileKind (&kinds)[kKinds], const ProductShape& s) {
  Context& context = current_context();
  const Tilings::Key key{reinterpret_cast<intptr_t>(&kinds), s.m, s.n, s.k, s.results, s.through_memory};
  return context.remembered<Tilings>().get(
      key, [&] { return choose_tiling(kinds, s, context.multiprocessors()); });
}

// Runs `start(gemm, blocks)` for the product cut into tiles of tile_m x tile_n x depth, then adds the slabs
// where there are any.
template <class T, class Start>
void run_tiled(const GemmArgs& args, int tile_m, int tile_n, int depth, int slabs, const Start& start) {
  const int64_t sums = args.sum_batch ? 1 : args.batch;
  const int64_t steps_per_matrix = (args.k + depth - 1) / depth;
  TiledGemm<T> gemm{};
  gemm.a = make_operand<T>(args.a);
  gemm.b = make_operand<T>(args.b);
  gemm.m = static_cast<int>(args.m);
  gemm.n = static_cast<int>(args.n);
  gemm.k = static_cast<int>(args.k);
  gemm.tiles_m = (gemm.m + tile_m - 1) / tile_m;
  gemm.tiles_n = (gemm.n + tile_n - 1) / tile_n;
  gemm.slabs = slabs;
  gemm.steps_per_matrix = static_cast<int>(steps_per_matrix);
  const int64_t steps = steps_per_matrix * (args.sum_batch ? args.batch : 1);
  const int64_t blocks = static_cast<int64_t>(gemm.tiles_m) * gemm.tiles_n * slabs * sums;
  CHECK(blocks <= INT32_MAX && steps <= INT32_MAX, "ERR_SHAPE", "matrix product of ", args.batch, " x [",
        args.m, ", ", args.n, ", ", args.k, "] takes ", blocks, " blocks of ", steps,
        " steps; at most 2^31 - 1 of each");
  gemm.steps = static_cast<int>(steps);
  if (!needs_sums(args, slabs)) {
    gemm.epilogue = make_epilogue<T>(args);
    return start(gemm, static_cast<unsigned>(blocks));
  }
  const SlabScratch scratch(sums, slabs, args.m, args.n, args.epilogue.row_sum != nullptr);
  gemm.sums = scratch.sums();
  start(gemm, static_cast<unsigned>(blocks));
  reduce_slabs(args, scratch.sums());
}

}  // namespace native::cuda
