// The inner part of blocked_gemm.cc: blocks of operands copied into cache, and the kernel that multiplies a
// tile of a by a panel of b with its sums in registers. It is written once for vectors of 16 numbers
// (AVX-512), where the sums take 28 of 32 registers, and of 8 (AVX2), where they take 12 of 16. Multiply-adds
// per cycle are the limit of the processor, and the kernel runs at 99 % of it while its operands are at hand.
#pragma once

#include <cstdint>

#include "cpu/lanes.h"
#include "cpu/transpose.h"

namespace native::gemm_tile {

template <int lanes>
constexpr int64_t kPanel = 2 * lanes;
template <int lanes>
constexpr int64_t kTileRows = lanes == 16 ? 14 : 6;
constexpr int64_t kBlockDepth = 384, kNarrowBlockDepth = 768;
constexpr int64_t kDepthStep = 16;  // the depth of a block is a multiple of it
constexpr int64_t kLine = 16;       // floats in a line of the cache

// A tile of a as copied: [rows][kRowStride] when its rows are contiguous in memory, [depth][lanes] when its
// columns are. The odd number of cache lines between rows spreads them over the sets of L1.
constexpr int64_t kRowStride = kNarrowBlockDepth + kLine;
template <int lanes>
struct ByRow {
  static constexpr int64_t row = kRowStride, column = 1;
};
template <int lanes>
struct ByColumn {
  static constexpr int64_t row = 1, column = lanes;
};

template <int lanes>
using V = typename Vector<lanes>::type;

template <int lanes>
ALWAYS_INLINE const typename Vector<lanes>::stored& at(const float* x) {
  return *reinterpret_cast<const typename Vector<lanes>::stored*>(x);
}
template <int lanes>
ALWAYS_INLINE typename Vector<lanes>::stored& at(float* x) {
  return *reinterpret_cast<typename Vector<lanes>::stored*>(x);
}

// A sum of one, two or four matrices in memory that lie alike: terms[0] plus or minus each of the others.
struct Sum {
  enum Signs : uint8_t {
    kOne,
    kPlus,
    kMinus,
    kPlusPlusPlus,
    kMinusPlusMinus,
    kPlusMinusMinus,
    kMinusMinusPlus
  };

  const float* terms[4];
  int count;
  Signs signs;
};

// Copies one vector of a sum, from `offset` in each term. By additions, not multiply-adds by 1 or -1: the
// processor adds beside the multiply-adds of the kernel.
template <int lanes, Sum::Signs signs>
ALWAYS_INLINE void copy_sum(const Sum& sum, int64_t offset, float* copy) {
  constexpr bool second =
      signs == Sum::kMinus || signs == Sum::kMinusPlusMinus || signs == Sum::kMinusMinusPlus;
  constexpr bool third = signs == Sum::kPlusMinusMinus || signs == Sum::kMinusMinusPlus;
  V<lanes> x = at<lanes>(sum.terms[0] + offset);
  if constexpr (signs != Sum::kOne) {
    const V<lanes> y = at<lanes>(sum.terms[1] + offset);
    x = second ? x - y : x + y;
  }
  if constexpr (signs > Sum::kMinus) {
    const V<lanes> y = at<lanes>(sum.terms[2] + offset), z = at<lanes>(sum.terms[3] + offset);
    const V<lanes> other = second ? y - z : y + z;
    x = third ? x - other : x + other;
  }
  at<lanes>(copy) = x;
}

// How a part of an operand is copied into cache: in units of `pairs` pairs of vectors that are contiguous in
// the copy, `inner` units in each of the groups numbered by `outer`. Distances are in elements.
struct Copy {
  Sum source;
  int64_t pair, half;  // in the source, from a pair to the next, and from the first of a pair to the second
  int64_t pairs, inner;
  int64_t source_inner, source_outer;  // from a unit to the next, from a group to the next
  float* copy;                         // or null: only fetched into L2, being in memory as it will be read
  int64_t copy_inner, copy_outer;
  int64_t fetched = 0;  // lane whose line is fetched of each vector
};

// Copies units of an operand, some pairs with every call of advance: between the multiply-adds of a tile
// there is room for that, while by itself it would wait for memory.
template <int lanes>
class Copier {
 public:
  Copier() = default;

  // Units `unit` to `end` - 1, in `calls` calls of advance, the first of which only fetches. The others copy
  // as evenly as they can: the smaller the portions, the less they hold up.
  Copier(const Copy& copy, int64_t unit, int64_t end, int64_t calls) : copy_(copy), unit_(unit), end_(end) {
    const int64_t total = (end - unit) * copy.pairs;
    copying_ = calls > 1 ? calls - 1 : 1;
    at_once_ = total / copying_;
    rest_ = total % copying_;
    // One pair more or less is half of a small portion: all alike are faster. With AVX2 a step takes twice
    // the instructions for its multiply-adds, and few calls that copy leave more room among them than many.
    constexpr int64_t kSmall = lanes == 16 ? 2 : 8;
    if (at_once_ < kSmall) {
      at_once_ = lanes == 16 ? at_once_ + (rest_ > 0) : kSmall;
      rest_ = 0;
    }
    if (unit >= end) return;
    begin_unit();
    if (calls > 1) {
      ahead_ = source_;
      is_fetching_ = true;
    }
  }

  ALWAYS_INLINE void advance() {
    if (unit_ == end_) return;
    if (is_fetching_) {
      is_fetching_ = false;
      fetch(copy_.pairs);
      find_next();
      return;
    }
    due_ += rest_;
    const bool one_more = due_ >= copying_;
    due_ -= one_more ? copying_ : 0;
    for (int64_t left = at_once_ + one_more; left > 0;) {
      const int64_t count = left < copy_.pairs - pair_ ? left : copy_.pairs - pair_;
      fetch(count);
      if (copy_.copy) copy_pairs(count);
      pair_ += count;
      left -= count;
      if (pair_ < copy_.pairs) continue;
      if (++unit_ == end_) return;
      begin_unit();
    }
  }

 private:
  void begin_unit() {
    pair_ = 0;
    const int64_t group = unit_ / copy_.inner, unit = unit_ % copy_.inner;
    source_ = group * copy_.source_outer + unit * copy_.source_inner;
    target_ = copy_.copy ? copy_.copy + group * copy_.copy_outer + unit * copy_.copy_inner : nullptr;
    find_next();
  }

  void find_next() {
    const int64_t next = unit_ + 1 < end_ ? unit_ + 1 : unit_;
    ahead_ = next / copy_.inner * copy_.source_outer + next % copy_.inner * copy_.source_inner;
  }

  // What corresponds to the next `count` pairs in the next unit.
  ALWAYS_INLINE void fetch(int64_t count) {
    const int64_t pair = copy_.pair, half = copy_.half;
    for (int i = 0; i < copy_.source.count; ++i) {
      const float* term = copy_.source.terms[i] + ahead_ + pair_ * pair + copy_.fetched;
      for (int64_t j = 0; j < count; ++j, term += pair) {
        __builtin_prefetch(term, 0, kIntoL2);
        if (lanes == kLine || half > lanes) __builtin_prefetch(term + half, 0, kIntoL2);
      }
    }
  }

  template <Sum::Signs signs>
  ALWAYS_INLINE void copy_pairs_of(int64_t count) {
    Sum sum = copy_.source;
    const int64_t pair = copy_.pair, half = copy_.half;
    int64_t offset = source_ + pair_ * pair;
    float* target = target_ + pair_ * kPanel<lanes>;
#pragma GCC unroll 1
    for (int64_t i = 0; i < count; ++i, offset += pair, target += kPanel<lanes>) {
      copy_sum<lanes, signs>(sum, offset, target);
      copy_sum<lanes, signs>(sum, offset + half, target + lanes);
    }
  }

  ALWAYS_INLINE void copy_pairs(int64_t count) {
    switch (copy_.source.signs) {
      case Sum::kOne:
        return copy_pairs_of<Sum::kOne>(count);
      case Sum::kPlus:
        return copy_pairs_of<Sum::kPlus>(count);
      case Sum::kMinus:
        return copy_pairs_of<Sum::kMinus>(count);
      case Sum::kPlusPlusPlus:
        return copy_pairs_of<Sum::kPlusPlusPlus>(count);
      case Sum::kMinusPlusMinus:
        return copy_pairs_of<Sum::kMinusPlusMinus>(count);
      case Sum::kPlusMinusMinus:
        return copy_pairs_of<Sum::kPlusMinusMinus>(count);
      case Sum::kMinusMinusPlus:
        return copy_pairs_of<Sum::kMinusMinusPlus>(count);
    }
  }

  Copy copy_{};
  int64_t unit_ = 0, end_ = 0;
  // Pairs of a call, and the pairs beyond these that all copying calls share.
  int64_t at_once_ = 0, rest_ = 0, due_ = 0, copying_ = 1;
  int64_t pair_ = 0, source_ = 0, ahead_ = 0;  // pair of the unit; where in a term it and the next begin
  float* target_ = nullptr;
  bool is_fetching_ = false;
};

TARGET_AVX512 inline void copy_all(Lanes<16>, const Copy& copy, int64_t units) {
  if (copy.copy) Copier<16>(copy, 0, units, 1).advance();
}
TARGET_AVX2 inline void copy_all(Lanes<8>, const Copy& copy, int64_t units) {
  if (copy.copy) Copier<8>(copy, 0, units, 1).advance();
}

// Panels [depth][kPanel] of a block of b as they are read, `stride` apart.
struct Panels {
  const float* first;
  int64_t stride, count;
};

// A square of numbers, as large as a vector, whose rows lie kPanel apart, in place.
TARGET_AVX512 inline void transpose_in_panel(Lanes<16>, float* square) {
  __m512 x[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = _mm512_load_ps(square + i * kPanel<16>);
  transpose_square(x);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_store_ps(square + i * kPanel<16>, x[i]);
}
TARGET_AVX2 inline void transpose_in_panel(Lanes<8>, float* square) {
  __m256 x[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) x[i] = _mm256_load_ps(square + i * kPanel<8>);
  transpose_square(x);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) _mm256_store_ps(square + i * kPanel<8>, x[i]);
}

// What is done for later while a tile is multiplied: the next tile is copied, and a part of the next block.
template <int lanes>
struct Ahead {
  Copier<lanes> a, b;
};

// Where the sums of a tile go: c = addend + sums, or addend - sums. Distances from a row to the next and from
// a panel to the next are each one's own.
struct Target {
  float* c;
  int64_t row, panel;
  const float* addend;  // or null: 0
  int64_t addend_row, addend_panel;
  bool negative;
  const float* beside;  // rows as those of c that the epilogue will read or write, or null

  void next_panel() {
    c += panel;
    addend += addend ? addend_panel : 0;
    beside += beside ? panel : 0;
  }
};

struct Targets {
  Target each[4];
  int count;
};

template <int lanes, int rows, bool negative>
ALWAYS_INLINE void add_to(const Target& t, const V<lanes> (&sum)[rows][2]) {
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    float* c = t.c + i * t.row;
    V<lanes> left{}, right{};
    if (t.addend) {
      left = at<lanes>(t.addend + i * t.addend_row);
      right = at<lanes>(t.addend + i * t.addend_row + lanes);
    }
    at<lanes>(c) = negative ? left - sum[i][0] : left + sum[i][0];
    at<lanes>(c + lanes) = negative ? right - sum[i][1] : right + sum[i][1];
  }
}

template <int lanes>
ALWAYS_INLINE void fetch_panel_row(const float* row) {
  for (int64_t i = 0; i < kPanel<lanes>; i += kLine) __builtin_prefetch(row + i, 1);
}

template <int lanes>
ALWAYS_INLINE void fetch_row(const Target& t, int64_t row) {
  fetch_panel_row<lanes>(t.c + row * t.row);
  if (t.addend && t.addend != t.c) fetch_panel_row<lanes>(t.addend + row * t.addend_row);
  if (t.beside) fetch_panel_row<lanes>(t.beside + row * t.row);
}

// Adds a product to each sum; a and panel move on.
template <int lanes, class Tile, int rows>
ALWAYS_INLINE void multiply_add(const float*& a, const float*& panel, V<lanes> (&sum)[rows][2]) {
  const V<lanes> left = at<lanes>(panel), right = at<lanes>(panel + lanes);
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    const float factor = a[i * Tile::row];
    sum[i][0] += factor * left;
    sum[i][1] += factor * right;
  }
  a += Tile::column;
  panel += kPanel<lanes>;
}

// Adds `depth` products. Where one has few multiply-adds, there is no loop: its counting would take the place
// of some of them.
template <int lanes, class Tile, int rows, int depth>
ALWAYS_INLINE void multiply_add(const float*& a, const float*& panel, V<lanes> (&sum)[rows][2]) {
  if constexpr (lanes == 16) {
#pragma GCC unroll 1
    for (int p = 0; p < depth; ++p) multiply_add<lanes, Tile, rows>(a, panel, sum);
  } else {
#pragma GCC unroll 16
    for (int p = 0; p < depth; ++p) multiply_add<lanes, Tile, rows>(a, panel, sum);
  }
}

// Sums of `rows` rows of a tile and the columns of a panel [depth][kPanel], added to all targets. What is
// done for later comes in three portions a step: the processor looks ahead over a small one, while in a large
// one it runs out of multiply-adds that it could do meanwhile.
template <int lanes, class Tile, int rows>
ALWAYS_INLINE void multiply(int64_t depth, const float* a, const float* panel, const Targets& targets,
                            Ahead<lanes>& next) {
  V<lanes> sum[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = V<lanes>{};
  const int64_t lines = (rows * kDepthStep + depth - 1) / depth;  // of each target, fetched in a step
  constexpr int kThird = kDepthStep / 3;
  static_assert(3 * kThird + 1 == kDepthStep);
  int64_t line = 0;
  for (int64_t done = 0; done < depth; done += kDepthStep) {
    next.a.advance();
    multiply_add<lanes, Tile, rows, kThird + 1>(a, panel, sum);
    next.b.advance();
    multiply_add<lanes, Tile, rows, kThird>(a, panel, sum);
    for (int64_t i = 0; i < lines && line < rows; ++i, ++line) {
      for (int j = 0; j < targets.count; ++j) fetch_row<lanes>(targets.each[j], line);
    }
    multiply_add<lanes, Tile, rows, kThird>(a, panel, sum);
  }
  for (int j = 0; j < targets.count; ++j) {
    const Target& t = targets.each[j];
    if (t.negative) {
      add_to<lanes, rows, true>(t, sum);
    } else {
      add_to<lanes, rows, false>(t, sum);
    }
  }
}

template <int lanes, class Tile, int rows>
ALWAYS_INLINE void multiply_all(const Panels& panels, int64_t depth, const float* a, Targets& targets,
                                Ahead<lanes>& next) {
  for (int64_t i = 0; i < panels.count; ++i) {
    multiply<lanes, Tile, rows>(depth, a, panels.first + i * panels.stride, targets, next);
    for (int j = 0; j < targets.count; ++j) targets.each[j].next_panel();
  }
}

template <class Tile, int rows>
TARGET_AVX512 void multiply_panels(const Panels& panels, int64_t depth, const float* a, Targets targets,
                                   Ahead<16>& next) {
  multiply_all<16, Tile, rows>(panels, depth, a, targets, next);
}
template <class Tile, int rows>
TARGET_AVX2 void multiply_panels(const Panels& panels, int64_t depth, const float* a, Targets targets,
                                 Ahead<8>& next) {
  multiply_all<8, Tile, rows>(panels, depth, a, targets, next);
}

// Calls multiply_panels for the number of rows.
template <int lanes, class Tile, int rows = kTileRows<lanes>>
void dispatch_rows(int64_t count, const Panels& panels, int64_t depth, const float* a, const Targets& targets,
                   Ahead<lanes>& next) {
  if constexpr (rows > 0) {
    if (count == rows) return multiply_panels<Tile, rows>(panels, depth, a, targets, next);
    dispatch_rows<lanes, Tile, rows - 1>(count, panels, depth, a, targets, next);
  }
}

// sum[i] (+)= the sum of a tile in columns over its depth.
template <int lanes>
ALWAYS_INLINE void sum_columns(const float* tile, int64_t rows, int64_t depth, float* sum, bool accumulate) {
  V<lanes> total[4] = {};
  for (int64_t p = 0; p < depth; p += 4) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) total[i] += at<lanes>(tile + (p + i) * lanes);
  }
  float all[lanes];
  at<lanes>(all) = (total[0] + total[1]) + (total[2] + total[3]);
  for (int64_t i = 0; i < rows; ++i) sum[i] = accumulate ? sum[i] + all[i] : all[i];
}

TARGET_AVX512 inline void sum_tile_columns(Lanes<16>, const float* tile, int64_t rows, int64_t depth,
                                           float* sum, bool accumulate) {
  sum_columns<16>(tile, rows, depth, sum, accumulate);
}
TARGET_AVX2 inline void sum_tile_columns(Lanes<8>, const float* tile, int64_t rows, int64_t depth, float* sum,
                                         bool accumulate) {
  sum_columns<8>(tile, rows, depth, sum, accumulate);
}

}  // namespace native::gemm_tile
