// A register-blocked float32 product of small matrices that lie in cache, for kernels that keep a tile of
// their own (as attention does). One thread; the instruction set is chosen at run time.
#pragma once

#include <cstdint>

namespace native {

inline constexpr int64_t kTileLanes = 16;   // rows of b and c have room for a multiple of this
inline constexpr int64_t kTileColumns = 8;  // and are worked on up to a multiple of this

inline int64_t pad_to_columns(int64_t count) {
  return (count + kTileColumns - 1) / kTileColumns * kTileColumns;
}
inline int64_t pad_to_lanes(int64_t count) { return (count + kTileLanes - 1) / kTileLanes * kTileLanes; }

// c[i, j] (+)= sum over p of a[i * a_row + p * a_column] * b[p * b_row + j], at c[i * c_row + j]; the result
// times row_scale[i] unless that is null.
struct TileProduct {
  int64_t m, n, k;  // n a multiple of kTileColumns
  const float* a;
  int64_t a_row, a_column;
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  bool accumulate;
  const float* row_scale = nullptr;
};

void tile_product(const TileProduct& product);

}  // namespace native
