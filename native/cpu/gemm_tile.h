// The inner part of blocked_gemm.cc on AVX-512: blocks of operands copied into cache, and the kernel that
// multiplies a tile of a by a panel of b with its sums in registers (28 of the 32). One multiply-add per
// cycle is the limit of the processor, and the kernel runs at 99 % of it while its operands are at hand.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/transpose.h"

#define AVX512 __attribute__((target("arch=x86-64-v4")))
#define INLINE_AVX512 inline __attribute__((always_inline, target("arch=x86-64-v4")))

namespace native::gemm_tile {

constexpr int64_t kLanes = 16, kPanel = 2 * kLanes;
constexpr int64_t kTileRows = 14;
constexpr int64_t kBlockDepth = 384, kNarrowBlockDepth = 768;
constexpr int64_t kDepthStep = 16;  // the depth of a block is a multiple of it

// A tile of a as copied: [rows][kRowStride] when its rows are contiguous in memory, [depth][kLanes] when its
// columns are. The odd number of cache lines between rows spreads them over the sets of L1.
constexpr int64_t kRowStride = kNarrowBlockDepth + kLanes;
struct ByRow {
  static constexpr int64_t row = kRowStride, column = 1;
};
struct ByColumn {
  static constexpr int64_t row = 1, column = kLanes;
};

// A sum of one, two or four matrices in memory that lie alike: terms[0] plus or minus each of the others.
struct Sum {
  // kOneMasked is a part of the vectors of one matrix.
  enum Signs : uint8_t {
    kOne,
    kOneMasked,
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

// Additions, not multiply-adds by 1 or -1: the processor adds beside the multiply-adds of the kernel.
template <bool negative>
INLINE_AVX512 __m512 add(__m512 x, __m512 y) {
  return negative ? _mm512_sub_ps(x, y) : _mm512_add_ps(x, y);
}

// One vector of a sum, at `offset` in each term; lanes beyond the mask are 0.
template <Sum::Signs signs>
INLINE_AVX512 __m512 load(const Sum& sum, int64_t offset, __mmask16 mask) {
  if constexpr (signs == Sum::kOneMasked) return _mm512_maskz_loadu_ps(mask, sum.terms[0] + offset);
  const __m512 x = _mm512_loadu_ps(sum.terms[0] + offset);
  if constexpr (signs == Sum::kOne) return x;
  constexpr bool second =
      signs == Sum::kMinus || signs == Sum::kMinusPlusMinus || signs == Sum::kMinusMinusPlus;
  const __m512 pair = add<second>(x, _mm512_loadu_ps(sum.terms[1] + offset));
  if constexpr (signs == Sum::kPlus || signs == Sum::kMinus) return pair;
  constexpr bool third = signs == Sum::kPlusMinusMinus || signs == Sum::kMinusMinusPlus;
  const __m512 other =
      add<second>(_mm512_loadu_ps(sum.terms[2] + offset), _mm512_loadu_ps(sum.terms[3] + offset));
  return add<third>(pair, other);
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
  __mmask16 mask = 0xFFFF;  // of kOneMasked
  int64_t fetched = 0;      // lane whose line is fetched of each vector
};

// Copies units of an operand, some pairs with every call of advance: between the multiply-adds of a tile
// there is room for that, while by itself it would wait for memory.
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
    if (at_once_ < 2 && rest_ > 0) {  // one pair more or less is half of a portion: all alike are faster
      ++at_once_;
      rest_ = 0;
    }
    if (unit >= end) return;
    begin_unit();
    if (calls > 1) {
      ahead_ = source_;
      is_fetching_ = true;
    }
  }

  INLINE_AVX512 void advance() {
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
  INLINE_AVX512 void fetch(int64_t count) {
    const int64_t pair = copy_.pair, half = copy_.half;
    for (int i = 0; i < copy_.source.count; ++i) {
      const float* term = copy_.source.terms[i] + ahead_ + pair_ * pair + copy_.fetched;
      for (int64_t j = 0; j < count; ++j, term += pair) {
        _mm_prefetch(term, _MM_HINT_T1);
        _mm_prefetch(term + half, _MM_HINT_T1);
      }
    }
  }

  template <Sum::Signs signs>
  INLINE_AVX512 void copy_pairs_of(int64_t count) {
    Sum sum = copy_.source;
    const int64_t pair = copy_.pair, half = copy_.half;
    const __mmask16 mask = copy_.mask;
    int64_t at = source_ + pair_ * pair;
    float* target = target_ + pair_ * kPanel;
#pragma GCC unroll 1
    for (int64_t i = 0; i < count; ++i, at += pair, target += kPanel) {
      _mm512_store_ps(target, load<signs>(sum, at, mask));
      _mm512_store_ps(target + kLanes, load<signs>(sum, at + half, mask));
    }
  }

  INLINE_AVX512 void copy_pairs(int64_t count) {
    switch (copy_.source.signs) {
      case Sum::kOne:
        return copy_pairs_of<Sum::kOne>(count);
      case Sum::kOneMasked:
        return copy_pairs_of<Sum::kOneMasked>(count);
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

AVX512 inline void copy_all(const Copy& copy, int64_t units) {
  if (copy.copy) Copier(copy, 0, units, 1).advance();
}

// Panels [depth][kPanel] of a block of b as they are read, `stride` apart.
struct Panels {
  const float* first;
  int64_t stride, count;
};

// Of kLanes by kLanes, the rows kPanel apart, in place.
AVX512 inline void transpose_in_panel(float* square) {
  __m512 x[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) x[i] = _mm512_load_ps(square + i * kPanel);
  transpose_square(x);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) _mm512_store_ps(square + i * kPanel, x[i]);
}

// What is done for later while a tile is multiplied: the next tile is copied, and a part of the next block.
struct Ahead {
  Copier a, b;
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

template <int rows, bool negative>
INLINE_AVX512 void add_to(const Target& t, const __m512 (&sum)[rows][2]) {
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    float* c = t.c + i * t.row;
    __m512 left = _mm512_setzero_ps(), right = left;
    if (t.addend) {
      left = _mm512_loadu_ps(t.addend + i * t.addend_row);
      right = _mm512_loadu_ps(t.addend + i * t.addend_row + kLanes);
    }
    _mm512_storeu_ps(c, add<negative>(left, sum[i][0]));
    _mm512_storeu_ps(c + kLanes, add<negative>(right, sum[i][1]));
  }
}

INLINE_AVX512 void fetch_line(const float* line) {
  __builtin_prefetch(line, 1);
  __builtin_prefetch(line + kLanes, 1);
}

INLINE_AVX512 void fetch_row(const Target& t, int64_t row) {
  fetch_line(t.c + row * t.row);
  if (t.addend && t.addend != t.c) fetch_line(t.addend + row * t.addend_row);
  if (t.beside) fetch_line(t.beside + row * t.row);
}

// Adds `depth` products to each sum; a and panel move on.
template <class Tile, int rows>
INLINE_AVX512 void multiply_add(int64_t depth, const float*& a, const float*& panel, __m512 (&sum)[rows][2]) {
#pragma GCC unroll 1
  for (int64_t p = 0; p < depth; ++p, a += Tile::column, panel += kPanel) {
    const __m512 left = _mm512_load_ps(panel), right = _mm512_load_ps(panel + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const __m512 factor = _mm512_set1_ps(a[i * Tile::row]);
      sum[i][0] = _mm512_fmadd_ps(factor, left, sum[i][0]);
      sum[i][1] = _mm512_fmadd_ps(factor, right, sum[i][1]);
    }
  }
}

// Sums of `rows` rows of a tile and the columns of a panel [depth][kPanel], added to all targets. What is
// done for later comes in three portions a step: the processor looks ahead over a small one, while in a large
// one it runs out of multiply-adds that it could do meanwhile.
template <class Tile, int rows>
INLINE_AVX512 void multiply(int64_t depth, const float* a, const float* panel, const Targets& targets,
                            Ahead& next) {
  __m512 sum[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  const int64_t lines = (rows * kDepthStep + depth - 1) / depth;  // of each target, fetched in a step
  constexpr int64_t kThird = kDepthStep / 3;
  static_assert(3 * kThird + 1 == kDepthStep);
  int64_t line = 0;
  for (int64_t done = 0; done < depth; done += kDepthStep) {
    next.a.advance();
    multiply_add<Tile, rows>(kThird + 1, a, panel, sum);
    next.b.advance();
    multiply_add<Tile, rows>(kThird, a, panel, sum);
    for (int64_t i = 0; i < lines && line < rows; ++i, ++line) {
      for (int j = 0; j < targets.count; ++j) fetch_row(targets.each[j], line);
    }
    multiply_add<Tile, rows>(kThird, a, panel, sum);
  }
  for (int j = 0; j < targets.count; ++j) {
    const Target& t = targets.each[j];
    if (t.negative) {
      add_to<rows, true>(t, sum);
    } else {
      add_to<rows, false>(t, sum);
    }
  }
}

template <class Tile, int rows>
AVX512 void multiply_panels(const Panels& panels, int64_t depth, const float* a, Targets targets,
                            Ahead& next) {
  for (int64_t i = 0; i < panels.count; ++i) {
    multiply<Tile, rows>(depth, a, panels.first + i * panels.stride, targets, next);
    for (int j = 0; j < targets.count; ++j) targets.each[j].next_panel();
  }
}

// Calls multiply_panels for the number of rows.
template <class Tile, int rows = kTileRows>
void dispatch_rows(int64_t count, const Panels& panels, int64_t depth, const float* a, const Targets& targets,
                   Ahead& next) {
  if constexpr (rows > 0) {
    if (count == rows) return multiply_panels<Tile, rows>(panels, depth, a, targets, next);
    dispatch_rows<Tile, rows - 1>(count, panels, depth, a, targets, next);
  }
}

// sum[i] (+)= the sum of a tile in columns over its depth.
AVX512 inline void sum_tile_columns(const float* tile, int64_t rows, int64_t depth, float* sum,
                                    bool accumulate) {
  __m512 total[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t p = 0; p < depth; p += 4) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i)
      total[i] = _mm512_add_ps(total[i], _mm512_load_ps(tile + (p + i) * kLanes));
  }
  const auto mask = static_cast<__mmask16>((1u << rows) - 1);
  __m512 all = _mm512_add_ps(_mm512_add_ps(total[0], total[1]), _mm512_add_ps(total[2], total[3]));
  if (accumulate) all = _mm512_add_ps(all, _mm512_maskz_loadu_ps(mask, sum));
  _mm512_mask_storeu_ps(sum, mask, all);
}

}  // namespace native::gemm_tile
