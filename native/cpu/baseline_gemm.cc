// A thread takes a strip of c at a time. Of b it copies a block, kBlockDepth deep and as wide as the strip,
// into panels that stay in L2; of a, kTileRows rows of that depth into a tile that stays in L1 while it meets
// every panel in a kernel whose sums stay in registers. Between blocks, sums lie in a buffer of the thread.
#include "cpu/baseline_gemm.h"

#include <algorithm>
#include <type_traits>

#include "core/parallel.h"
#include "cpu/blocks.h"
#include "cpu/epilogue.h"
#include "cpu/lanes.h"

namespace native {
namespace {

// A tile of c as large as the registers have room for, beside a row of b and a column of a.
#if defined(__aarch64__)
constexpr int kTileRows = 8, kTileVectors = 3;
#else
constexpr int kTileRows = 4, kTileVectors = 2;
#endif
constexpr int kLanes = 4, kPanel = kTileVectors * kLanes;
constexpr int64_t kBlockDepth = 256;
// Strips are whole panels and, for write_sums, whole panels of its own. All rows of one read a block of b, so
// few of them would have it copied for little.
constexpr int64_t kStripRows = 512, kStripUnit = 96, kStripUnits = 2;
static_assert(kStripRows % kTileRows == 0 && kStripUnit % kPanel == 0 && kStripUnit % kPanelColumns == 0);

using V = Vector<kLanes>::type;
using Stored = Vector<kLanes>::stored;

// What a thread has: a block of b in panels [kPanel] wide, a tile of a, and the sums of a strip.
struct Buffers {
  Buffer<float> block = new_buffer<float>(kBlockDepth * kStripUnits * kStripUnit);
  Buffer<float> tile = new_buffer<float>(kBlockDepth * kTileRows);
  Buffer<float> sums = new_buffer<float>(kStripRows * kStripUnits * kStripUnit);
};

Buffers& buffers() {
  thread_local Buffers own;
  return own;
}

// copy[p * width + i] = x[i * across + p * down] for `count` of `width` i, and 0 for the others.
template <int width, class T>
void pack(const T* x, int64_t across, int64_t down, int64_t count, int64_t depth, float* copy) {
  if (count < width) std::fill_n(copy, depth * width, 0.0f);
  if (across == 1 && count == width) {
    for (int64_t p = 0; p < depth; ++p) {
      for (int i = 0; i < width; ++i) copy[p * width + i] = static_cast<float>(x[p * down + i]);
    }
    return;
  }
  // Lines of x end to end, a few numbers at a time so that what is written stays in L1: four lines together
  // where they are vectors.
  constexpr int64_t kRun = 64;
  for (int64_t begin = 0; begin < depth; begin += kRun) {
    const int64_t end = std::min(begin + kRun, depth);
    for (int64_t i = 0; i < count; i += 4) {
      const int64_t lines = std::min<int64_t>(4, count - i);
      int64_t done = begin;
      if constexpr (std::is_same_v<T, float>) {
        if (down == 1 && lines == 4) {
          const T* const line = x + i * across;
          const float* const row[4] = {line, line + across, line + 2 * across, line + 3 * across};
          for (; done + 4 <= end; done += 4) transpose_four(row, done, copy + done * width + i, width);
        }
      }
      for (int64_t l = i; l < i + lines; ++l) {
        for (int64_t p = done; p < end; ++p)
          copy[p * width + l] = static_cast<float>(x[l * across + p * down]);
      }
    }
  }
}

// c (+)= a tile by a panel. Rows of c that there are not lie in the buffer nevertheless.
void multiply_tile(const float* a, const float* b, int64_t depth, bool accumulate, float* c, int64_t c_row) {
  V sum[kTileRows][kTileVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; ++j) {
      sum[i][j] = accumulate ? *reinterpret_cast<const Stored*>(c + i * c_row + j * kLanes) : V{};
    }
  }
  for (int64_t p = 0; p < depth; ++p, a += kTileRows, b += kPanel) {
    V row[kTileVectors], column[kTileRows / kLanes];
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; ++j) row[j] = *reinterpret_cast<const Stored*>(b + j * kLanes);
#pragma GCC unroll 2
    for (int i = 0; i < kTileRows / kLanes; ++i) column[i] = *reinterpret_cast<const Stored*>(a + i * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kTileVectors; ++j) sum[i][j] += column[i / kLanes][i % kLanes] * row[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; ++j) *reinterpret_cast<Stored*>(c + i * c_row + j * kLanes) = sum[i][j];
  }
}

template <class T>
class Product {
 public:
  Product(const GemmArgs& g, int64_t threads) : g_(g), heights_(pieces(g.m, kStripRows)) {
    // As many strips for each thread, where there are not many for each anyway.
    const int64_t units = pieces(g.n, kStripUnit);
    widths_ = pieces(units, kStripUnits);
    while (strips() % threads != 0 && strips() < 4 * threads && widths_ < units) ++widths_;
  }

  int64_t strips() const { return g_.batch * heights_ * widths_; }

  void multiply_strip(int64_t i) const {
    Buffers& own = buffers();
    const int64_t matrix = i / (heights_ * widths_);
    const Range rows = share(g_.m, kTileRows, i / widths_ % heights_, heights_);
    const Range columns = share(g_.n, kStripUnit, i % widths_, widths_);
    const T* const a = static_cast<const T*>(g_.a.data) + matrix * g_.a.batch + rows.begin * g_.a.row;
    const T* const b = static_cast<const T*>(g_.b.data) + matrix * g_.b.batch + columns.begin * g_.b.column;
    const int64_t sums_row = pieces(columns.size(), kStripUnit) * kStripUnit;
    for (int64_t p = 0; p < g_.k; p += kBlockDepth) {
      const int64_t depth = std::min(kBlockDepth, g_.k - p);
      for (int64_t j = 0; j < columns.size(); j += kPanel) {
        pack<kPanel>(b + p * g_.b.row + j * g_.b.column, g_.b.column, g_.b.row,
                     std::min<int64_t>(kPanel, columns.size() - j), depth, own.block.get() + j * depth);
      }
      for (int64_t row = 0; row < rows.size(); row += kTileRows) {
        pack<kTileRows>(a + row * g_.a.row + p * g_.a.column, g_.a.row, g_.a.column,
                        std::min<int64_t>(kTileRows, rows.size() - row), depth, own.tile.get());
        for (int64_t j = 0; j < columns.size(); j += kPanel) {
          multiply_tile(own.tile.get(), own.block.get() + j * depth, depth, p > 0,
                        own.sums.get() + row * sums_row + j, sums_row);
        }
      }
    }
    if (g_.alpha != 1) {
      for (int64_t j = 0; j < rows.size() * sums_row; ++j) own.sums.get()[j] *= g_.alpha;
    }
    write_sums(
        {own.sums.get(), sums_row, kPanelColumns, g_.bias ? g_.bias + columns.begin : nullptr, g_.accumulate},
        {g_.quick_gelu, g_.slope, g_.factor, g_.residual}, g_.c, g_.result_dtype,
        {(matrix * g_.m + rows.begin) * g_.n + columns.begin, rows.size(), columns.size(), g_.n});
  }

 private:
  const GemmArgs& g_;
  int64_t heights_, widths_;
};

template <class T>
void multiply(const GemmArgs& g) {
  const Product<T> product(g, omp_get_max_threads());
  parallel_for(product.strips(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) product.multiply_strip(i);
  });
}

}  // namespace

bool baseline_gemm_applies() {
  static const bool applies = !uses_avx();
  return applies;
}

void baseline_gemm(const GemmArgs& g) {
  if (g.dtype == DType::float32) {
    multiply<float>(g);
  } else {
    multiply<bfloat16>(g);
  }
}

}  // namespace native
