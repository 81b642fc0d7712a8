// What was the fastest on a card, by shape. The products of the models are looked up here; all others take
// what the estimates of gemm_sm90.cu and tile_table.h say.
#pragma once

#include <cstdint>
#include <vector>

#include "gemm/gemm_choice.h"

namespace native::cuda {

// Those of a linear layer: y = x Wᵀ, dx = dy W, dW = dyᵀ x in float32.
enum class ProductKind : uint8_t { forward, input, weight };

struct MeasuredTile {
  int capability;       // of the context that it was measured in
  int multiprocessors;  // of the card; another number cuts products into other rounds
  ProductKind kind;
  int64_t m, n, k;
  GemmChoice choice;
};

// The table: at first what bench/cuda/tile_table.mjs wrote into measured_tiles.inc; tests plant rows.
std::vector<MeasuredTile>& measured_tiles();

// The row for this product on the current device, or null.
const MeasuredTile* find_measured(const GemmArgs& args);

}  // namespace native::cuda
