// How a product is cut: into tiles of which size, and the summed dimension into how many slabs. One rule for
// all implementations, fed by each one's table of tiles. Its rates are estimates; shapes that were measured
// are in measured_tiles.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/memo.h"

namespace native::cuda {

// A tile that an implementation has a kernel for.
struct TileKind {
  int m, n, depth;  // of C, and the step of the summed dimension
  float rate;       // the fraction of the device's peak that it reaches when every multiprocessor is busy
};

struct Tiling {
  int kind;   // index into the implementation's table
  int slabs;  // of the summed dimension
};

struct ProductShape {
  int64_t m, n;
  int64_t k;            // of one sum: the whole batch's with sum_batch
  int64_t results;      // matrices C
  bool through_memory;  // the sums go through memory also when there is one slab
};

// How many tiles of `tile` cover `size`.
constexpr int64_t tiles_over(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

inline int64_t blocks_of(const TileKind& kind, int slabs, const ProductShape& shape) {
  return tiles_over(shape.m, kind.m) * tiles_over(shape.n, kind.n) * shape.results * slabs;
}

// The time of a tiling's tiles, in multiply-adds of one multiprocessor at its peak: those of the busiest one,
// each with a fixed cost for filling the pipeline and writing the result.
inline double tiles_cost(const TileKind& kind, int slabs, const ProductShape& shape, int multiprocessors) {
  constexpr double kStartDepth = 160;  // a tile's fixed cost, as if it summed that much more
  const int64_t depth = tiles_over(tiles_over(shape.k, kind.depth), slabs) * kind.depth;
  const double tile = static_cast<double>(kind.m) * kind.n * (depth + kStartDepth) / kind.rate;
  return tile * tiles_over(blocks_of(kind, slabs, shape), multiprocessors);
}

// The same with the passage of the sums through memory, where they take it.
inline double tiling_cost(const TileKind& kind, int slabs, const ProductShape& shape, int multiprocessors) {
  constexpr double kPerByte = 60;  // multiply-adds of the whole device in the time that a byte takes
  constexpr double kLaunch = 3e6;  // those of one multiprocessor in the time of one more launch
  const double product = tiles_cost(kind, slabs, shape, multiprocessors);
  if (slabs == 1 && !shape.through_memory) return product;
  const double bytes = 4.0 * shape.m * shape.n * shape.results * (2 * slabs + 1);
  return product + kLaunch + kPerByte * bytes / multiprocessors;
}

// The cheapest tiling for this shape. Slabs are at least four steps long, and no more of them are tried than
// give every multiprocessor four blocks.
template <int kKinds>
Tiling choose_tiling(const TileKind (&kinds)[kKinds], const ProductShape& shape, int multiprocessors) {
  Tiling best{0, 1};
  double least = tiling_cost(kinds[0], 1, shape, multiprocessors);
  for (int kind = 0; kind < kKinds; ++kind) {
    const int64_t most = std::max<int64_t>(tiles_over(shape.k, kinds[kind].depth) / 4, 1);
    for (int slabs = 1; slabs <= most; ++slabs) {
      if (slabs > 1 && blocks_of(kinds[kind], slabs, shape) > 4 * multiprocessors) break;
      const double cost = tiling_cost(kinds[kind], slabs, shape, multiprocessors);
      if (cost < least) {
        least = cost;
        best = {kind, slabs};
      }
    }
  }
  return best;
}

// What choose_tiling chose so far on a device, by table and shape.
struct Tilings : Memo<Tiling, 6> {};

}  // namespace native::cuda
