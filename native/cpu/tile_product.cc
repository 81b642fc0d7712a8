// A block of c, up to 6 rows by 4 vectors with AVX-512 and on arm64 (6 by 2 otherwise), stays in registers
// over the whole sum: each step loads a row of b once and broadcasts a column of a. Rows and columns are
// dealt to blocks evenly, so that no thin block, which would wait for loads, is left over; but half a vector
// of AVX-512 is, for it costs half of a whole one.
#include "cpu/tile_product.h"

#include "cpu/lanes.h"

namespace native {
namespace {

constexpr int kBlockRows = 6;
#if defined(__aarch64__)
constexpr int kBaselineVectors = 4;
#else
constexpr int kBaselineVectors = 2;
#endif

template <int lanes, int rows, int vectors>
ALWAYS_INLINE void block(const TileProduct& t, int64_t row, int64_t column) {
  using V = typename Vector<lanes>::type;
  using Stored = typename Vector<lanes>::stored;
  const float* a = t.a + row * t.a_row;
  const float* b = t.b + column;
  float* c = t.c + row * t.c_row + column;
  V sum[rows][vectors];
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) {
      sum[i][j] = t.accumulate ? *reinterpret_cast<const Stored*>(c + i * t.c_row + j * lanes) : V{};
    }
  }
  for (int64_t p = 0; p < t.k; ++p) {
    V b_row[vectors];
    for (int j = 0; j < vectors; ++j)
      b_row[j] = *reinterpret_cast<const Stored*>(b + p * t.b_row + j * lanes);
    for (int i = 0; i < rows; ++i) {
      const float factor = a[i * t.a_row + p * t.a_column];
      for (int j = 0; j < vectors; ++j) sum[i][j] += factor * b_row[j];
    }
  }
  if (t.row_scale) {
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < vectors; ++j) sum[i][j] *= t.row_scale[row + i];
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) *reinterpret_cast<Stored*>(c + i * t.c_row + j * lanes) = sum[i][j];
  }
}

template <int lanes, int vectors>
ALWAYS_INLINE void column_block(const TileProduct& t, int64_t column) {
  const int64_t blocks = (t.m + kBlockRows - 1) / kBlockRows;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t row = t.m * i / blocks, end = t.m * (i + 1) / blocks;
    switch (end - row) {
      case 6:
        block<lanes, 6, vectors>(t, row, column);
        break;
      case 5:
        block<lanes, 5, vectors>(t, row, column);
        break;
      case 4:
        block<lanes, 4, vectors>(t, row, column);
        break;
      case 3:
        block<lanes, 3, vectors>(t, row, column);
        break;
      case 2:
        block<lanes, 2, vectors>(t, row, column);
        break;
      default:
        block<lanes, 1, vectors>(t, row, column);
        break;
    }
  }
}

template <int lanes, int max_vectors>
ALWAYS_INLINE void product_of(const TileProduct& t) {
  const int64_t vectors = t.n / lanes, blocks = (vectors + max_vectors - 1) / max_vectors;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t first = vectors * i / blocks, end = vectors * (i + 1) / blocks;
    switch (end - first) {
      case 1:
        column_block<lanes, 1>(t, first * lanes);
        break;
      case 2:
        column_block<lanes, 2>(t, first * lanes);
        break;
      case 3:
        if constexpr (max_vectors > 2) column_block<lanes, 3>(t, first * lanes);
        break;
      default:
        if constexpr (max_vectors > 3) column_block<lanes, 4>(t, first * lanes);
    }
  }
  if constexpr (lanes > kTileColumns) {
    if (t.n % lanes != 0) column_block<kTileColumns, 1>(t, vectors * lanes);
  }
}

void product_baseline(const TileProduct& t) { product_of<4, kBaselineVectors>(t); }

#ifdef HAS_VECTOR_TARGETS
TARGET_AVX2 void product_avx2(const TileProduct& t) { product_of<8, 2>(t); }
TARGET_AVX512 void product_avx512(const TileProduct& t) { product_of<16, 4>(t); }
#endif

}  // namespace

void tile_product(const TileProduct& product) {
#ifdef HAS_VECTOR_TARGETS
  static const auto chosen = choose_form(product_baseline, product_avx2, product_avx512);
  chosen(product);
#else
  product_baseline(product);
#endif
}

}  // namespace native
