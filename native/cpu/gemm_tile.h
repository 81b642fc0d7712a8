// The inner part of blocked_gemm.cc on AVX-512: blocks of operands copied into cache, and the kernel that
// multiplies a tile of a by a panel of b with its sums in registers (28 of the 32). One multiply-add per
// cycle is the limit of the processor, and the kernel runs at 99 % of it while its operands are at hand.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define AVX512 __attribute__((target("arch=x86-64-v4")))
#define INLINE_AVX512 inline __attribute__((always_inline, target("arch=x86-64-v4")))

namespace native::gemm_tile {

constexpr int64_t kLanes = 16, kPanel = 2 * kLanes;
constexpr int64_t kTileRows = 14;
constexpr int64_t kBlockDepth = 384;
constexpr int64_t kDepthStep = 16;  // the depth of a block is a multiple of it

// A tile of a as copied: [rows][kRowStride] when its rows are contiguous in memory, [depth][kLanes] when its
// columns are. The odd number of cache lines between rows spreads them over the sets of L1.
constexpr int64_t kRowStride = kBlockDepth + kLanes;
struct ByRow {
  static constexpr int64_t row = kRowStride, column = 1;
};
struct ByColumn {
  static constexpr int64_t row = 1, column = kLanes;
};

// Part of an operand in memory: first, or first + sign second where there is a second.
struct Part {
  const float *first, *second;
  float sign;
  int64_t stride;  // between rows, or between columns where those are contiguous
};

// What to read of a part at `offset`, one vector.
template <bool pair>
INLINE_AVX512 __m512 load(const Part& x, int64_t offset) {
  const __m512 first = _mm512_loadu_ps(x.first + offset);
  if constexpr (!pair) return first;
  return _mm512_fmadd_ps(_mm512_set1_ps(x.sign), _mm512_loadu_ps(x.second + offset), first);
}

// Fetches the lines of a matrix in memory into L2, some with every call of advance.
class Fetcher {
 public:
  Fetcher() = default;

  // `rows` rows of `count` contiguous elements, in `calls` calls.
  Fetcher(const float* x, int64_t stride, int64_t rows, int64_t count, int64_t calls)
      : row_(x), stride_(stride), count_(count), rows_(rows) {
    const int64_t lines = rows * ((count + kLanes - 1) / kLanes);
    at_once_ = (lines + calls - 1) / calls;
  }

  // From the end of each row backwards: where a row begins within a line, the matrix before it has fetched
  // that.
  void advance() {
    for (int64_t i = 0; i < at_once_ && rows_ > 0; ++i) {
      _mm_prefetch(row_ + count_ - 1 - offset_, _MM_HINT_T1);
      offset_ += kLanes;
      if (offset_ < count_) continue;
      offset_ = 0;
      row_ += stride_;
      --rows_;
    }
  }

 private:
  const float* row_ = nullptr;
  int64_t stride_ = 0, count_ = 0, rows_ = 0, at_once_ = 0, offset_ = 0;
};

// Panels [depth][kPanel] of a block as they are read, `stride` apart.
struct Panels {
  const float* first;
  int64_t stride, count;
};

// Where a block of b lies in memory and its form in cache: panels [depth][kPanel], made of units of
// kDepthStep rows of a panel, which are numbered in order.
struct Block {
  static constexpr int64_t kUnit = kDepthStep * kPanel;

  Part b;
  bool by_row;           // rows of b are contiguous, not its columns
  int64_t panel_stride;  // in memory, with contiguous rows
  int64_t depth, panels;
  float* packed;  // or null: a block that has this form in memory and is read from there

  int64_t units() const { return panels * (depth / kDepthStep); }
  Panels as_read() const {
    return packed ? Panels{packed, depth * kPanel, panels} : Panels{b.first, panel_stride, panels};
  }
  // Of the first element of a unit, in each part.
  int64_t offset(int64_t unit) const {
    const int64_t panel = unit / (depth / kDepthStep) * kPanel, p = unit % (depth / kDepthStep) * kDepthStep;
    return by_row ? p * b.stride + panel / kPanel * panel_stride : panel * b.stride + p;
  }
};

// Of kLanes by kLanes, the rows kPanel apart, in place: numbers within fours of lanes, then the fours. (The
// unmasked forms of these are warned of, for they make a vector of nothing.)
AVX512 inline void transpose_square(float* square) {
  constexpr __mmask16 kAll = 0xFFFF;
  __m512 x[kLanes], y[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) x[i] = _mm512_load_ps(square + i * kPanel);
#pragma GCC unroll 8
  for (int i = 0; i < kLanes; i += 2) {
    y[i] = _mm512_maskz_unpacklo_ps(kAll, x[i], x[i + 1]);
    y[i + 1] = _mm512_maskz_unpackhi_ps(kAll, x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kLanes; i += 4) {
    x[i] = _mm512_maskz_shuffle_ps(kAll, y[i], y[i + 2], 0x44);
    x[i + 1] = _mm512_maskz_shuffle_ps(kAll, y[i], y[i + 2], 0xEE);
    x[i + 2] = _mm512_maskz_shuffle_ps(kAll, y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm512_maskz_shuffle_ps(kAll, y[i + 1], y[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm512_maskz_shuffle_f32x4(kAll, x[i], x[i + 4], 0x88);
    y[i + 4] = _mm512_maskz_shuffle_f32x4(kAll, x[i], x[i + 4], 0xDD);
    y[i + 8] = _mm512_maskz_shuffle_f32x4(kAll, x[i + 8], x[i + 12], 0x88);
    y[i + 12] = _mm512_maskz_shuffle_f32x4(kAll, x[i + 8], x[i + 12], 0xDD);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    _mm512_store_ps(square + i * kPanel, _mm512_maskz_shuffle_f32x4(kAll, y[i], y[i + 8], 0x88));
    _mm512_store_ps(square + (i + 8) * kPanel, _mm512_maskz_shuffle_f32x4(kAll, y[i], y[i + 8], 0xDD));
  }
}

// Packs units of a block, some rows or columns with every call of advance: between the multiply-adds of a
// tile there is room for that, while by itself it would wait for memory. Where columns of b are contiguous
// they are copied as they are, to where the rows of the unit will be, and transposed in the end: shuffling
// does cost the multiply-adds their time, so it is best done apart from them. A block that has its form in
// memory is only fetched.
class Packer {
 public:
  Packer() = default;

  // Units `unit` to `end` - 1 of a block, in `calls` calls of advance and then one of finish.
  Packer(const Block& block, int64_t unit, int64_t end, int64_t calls)
      : block_(block), first_(unit), unit_(unit), end_(end) {
    at_once_ = ((end - unit) * kDepthStep + calls - 1) / calls;
    if (unit < end) begin_unit();
  }

  INLINE_AVX512 void advance() {
    for (int64_t i = 0; i < at_once_ && unit_ < end_; ++i) {
      for (int64_t j = 0; j < 2; ++j) {
        if (!block_.packed) {
          _mm_prefetch(block_.b.first + at_ + row_ * kPanel + j * kLanes, _MM_HINT_T1);
        } else if (block_.by_row) {
          copy_half_row(j);
        } else {
          copy_column(j);
        }
      }
      if (++row_ < kDepthStep) continue;
      ++unit_;
      begin_unit();
    }
  }

  AVX512 void finish() const {
    if (block_.by_row) return;
    for (int64_t unit = first_; unit < end_; ++unit) {
      for (int64_t half = 0; half < kPanel; half += kLanes)
        transpose_square(block_.packed + unit * Block::kUnit + half);
    }
  }

 private:
  static_assert(kDepthStep == kLanes && kPanel == 2 * kLanes);

  void begin_unit() {
    row_ = 0;
    at_ = block_.offset(unit_);
    ahead_ = unit_ + 1 < block_.units() ? block_.offset(unit_ + 1) : at_;
  }

  INLINE_AVX512 void copy_half_row(int64_t half) { copy(row_ * block_.b.stride + half * kLanes, half); }
  INLINE_AVX512 void copy_column(int64_t half) { copy((half * kLanes + row_) * block_.b.stride, half); }

  // A vector at `offset` in the unit to its row; the one there in the next unit is fetched.
  INLINE_AVX512 void copy(int64_t offset, int64_t half) {
    const Part& b = block_.b;
    _mm_prefetch(b.first + ahead_ + offset, _MM_HINT_T1);
    if (b.second) _mm_prefetch(b.second + ahead_ + offset, _MM_HINT_T1);
    _mm512_store_ps(block_.packed + unit_ * Block::kUnit + row_ * kPanel + half * kLanes,
                    b.second ? load<true>(b, at_ + offset) : load<false>(b, at_ + offset));
  }

  Block block_{};
  int64_t first_ = 0, unit_ = 0, end_ = 0, at_once_ = 0;
  int64_t row_ = 0, at_ = 0, ahead_ = 0;  // row of the unit; where in b it and the next begin
};

// The whole block at once.
AVX512 inline void pack_block(const Block& block) {
  if (!block.packed) return;
  Packer packer(block, 0, block.units(), 1);
  packer.advance();
  packer.finish();
}

// What is done for later while a tile is multiplied: both parts of the next tile are fetched, and a part of
// the next block is packed.
struct Ahead {
  Fetcher a[2];
  Packer b;
  INLINE_AVX512 void advance() {
    for (Fetcher& fetcher : a) fetcher.advance();
    b.advance();
  }
};

// Where the sums of a tile go: c[i] = addend[i] + sign sums[i]. The addend is c itself where something was
// added before.
struct Target {
  float* c;  // or null: no second target
  const float* addend;
  int64_t addend_row;  // 0 adds one row to all
  float sign;
  const float* beside;  // rows as those of c that the epilogue will read or write, or null
};

struct Targets {
  Target each[2];
  int64_t row;  // of c and beside

  void next_panel() {
    for (Target& t : each) {
      t.c += t.c ? kPanel : 0;
      t.addend += t.addend ? kPanel : 0;
      t.beside += t.beside ? kPanel : 0;
    }
  }
};

template <int rows>
INLINE_AVX512 void add_to(const Target& t, int64_t row, const __m512 (&sum)[rows][2]) {
  const __m512 sign = _mm512_set1_ps(t.sign);
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    float* c = t.c + i * row;
    __m512 left = _mm512_setzero_ps(), right = left;
    if (t.addend) {
      left = _mm512_loadu_ps(t.addend + i * t.addend_row);
      right = _mm512_loadu_ps(t.addend + i * t.addend_row + kLanes);
    }
    _mm512_storeu_ps(c, _mm512_fmadd_ps(sign, sum[i][0], left));
    _mm512_storeu_ps(c + kLanes, _mm512_fmadd_ps(sign, sum[i][1], right));
  }
}

INLINE_AVX512 void fetch_line(const float* line) {
  __builtin_prefetch(line, 1);
  __builtin_prefetch(line + kLanes, 1);
}

// Sums of `rows` rows of a tile and the columns of a panel [depth][kPanel], added to both targets.
template <class Tile, int rows>
INLINE_AVX512 void multiply(int64_t depth, const float* a, const float* panel, const Targets& targets,
                            Ahead& next) {
  __m512 sum[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  int64_t line = 0;
  for (int64_t done = 0; done < depth; done += kDepthStep, line += targets.row) {
    next.advance();
    for (const Target& t : targets.each) {
      if (t.c) fetch_line(t.c + line);
      if (t.beside) fetch_line(t.beside + line);
    }
#pragma GCC unroll 1
    for (int64_t p = 0; p < kDepthStep; ++p, a += Tile::column, panel += kPanel) {
      const __m512 left = _mm512_load_ps(panel), right = _mm512_load_ps(panel + kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const __m512 factor = _mm512_set1_ps(a[i * Tile::row]);
        sum[i][0] = _mm512_fmadd_ps(factor, left, sum[i][0]);
        sum[i][1] = _mm512_fmadd_ps(factor, right, sum[i][1]);
      }
    }
  }
  add_to<rows>(targets.each[0], targets.row, sum);
  if (targets.each[1].c) add_to<rows>(targets.each[1], targets.row, sum);
}

template <class Tile, int rows>
AVX512 void multiply_panels(const Panels& panels, int64_t depth, const float* a, Targets targets,
                            Ahead& next) {
  for (int64_t i = 0; i < panels.count; ++i) {
    multiply<Tile, rows>(depth, a, panels.first + i * panels.stride, targets, next);
    targets.next_panel();
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

template <bool pair>
AVX512 void copy_tile_rows(const Part& a, int64_t rows, int64_t depth, float* tile) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t p = 0; p < depth; p += kLanes)
      _mm512_store_ps(tile + i * kRowStride + p, load<pair>(a, i * a.stride + p));
  }
}

AVX512 inline void copy_tile_columns(const Part& a, int64_t rows, int64_t depth, float* tile) {
  const auto mask = static_cast<__mmask16>((1u << rows) - 1);
  for (int64_t p = 0; p < depth; ++p)
    _mm512_store_ps(tile + p * kLanes, _mm512_maskz_loadu_ps(mask, a.first + p * a.stride));
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
