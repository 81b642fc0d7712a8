// Float32 operands of amx_gemm.cc split into tiles of bfloat16.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "cpu/amx_tile.h"

namespace native::amx_tile {

typedef uint32_t Words __attribute__((vector_size(64)));

constexpr uint32_t kHighHalf = 0xFFFF0000;

// The high halves of x in the low halves of the result, those of y in the high ones.
INLINE_AMX Words high_halves(Words x, Words y) { return (x >> 16) | (y & kHighHalf); }

// The pairs of x and y as bfloat16, and what is left of both: half of the last bit at most, for half is added
// before the rest is cut off.
INLINE_AMX Words round_pairs(__m512& x, __m512& y) {
  constexpr uint32_t kHalf = 0x8000;
  const Words pairs = high_halves(reinterpret_cast<Words>(x) + kHalf, reinterpret_cast<Words>(y) + kHalf);
  x -= reinterpret_cast<__m512>(pairs << 16);
  y -= reinterpret_cast<__m512>(pairs & kHighHalf);
  return pairs;
}

INLINE_AMX void store(uint32_t* target, Words words) {
  _mm512_store_si512(target, reinterpret_cast<__m512i>(words));
}

// A row of the tile of each part. Of the third nothing is cut off, for no more than eight bits are left.
// `unusual` becomes NaN where a number is infinite, NaN or rounded to infinity.
INLINE_AMX void split_pairs(__m512 x, __m512 y, uint32_t* target, __m512& unusual) {
  store(target, round_pairs(x, y));
  store(target + kTile, round_pairs(x, y));
  store(target + 2 * kTile, high_halves(reinterpret_cast<Words>(x), reinterpret_cast<Words>(y)));
  unusual += x * 0.0f + y * 0.0f;
}

// A part of an operand, to be split into `tiles` tiles side by side as deep as it is. A tile has in lane l of
// row r the number at r * row + l * lane and the one `second` further; row or lane is 1.
struct Operand {
  const float* data;
  int64_t tile, step;  // from a tile to the next beside it, and to the next below it
  int64_t row, lane, second;
  int64_t tiles, width, depth;  // numbers beside each other, and deep; what tiles have beyond is 0
  bool depth_in_lanes;          // as in a; in b it is in rows
  int64_t following;            // from this part to the one that will be split after it
  uint32_t* target;             // [tiles][target_tile], of which the first [depth / kDepth][kParts][kTile]
  int64_t target_tile;
  bool* usual;  // [tiles]: takes whether all numbers of a tile are finite, and their roundings
};

// Splits an operand row by row: between the products of tiles there is room for that. What will be read a
// tile later is fetched into L2.
class Splitter {
 public:
  Splitter() = default;

  AMX explicit Splitter(const Operand& operand)
      : operand_(operand), steps_((operand.depth + kDepth - 1) / kDepth), left_(operand.tiles * steps_) {
    if (left_ > 0) begin_tile();
  }

  // Of all tiles.
  int64_t rows() const { return operand_.tiles * steps_ * kSide; }

  INLINE_AMX void advance(int64_t rows) {
    for (; rows > 0 && left_ > 0; --rows) {
      _mm_prefetch(fetched_, _MM_HINT_T1);
      _mm_prefetch(fetched_ + operand_.second, _MM_HINT_T1);
      const __m512 x = _mm512_maskz_loadu_ps(row_ < first_.rows ? first_.lanes : 0, source_);
      const __m512 y = _mm512_maskz_loadu_ps(row_ < second_.rows ? second_.lanes : 0, source_ + distance_);
      split_pairs(x, y, target_, unusual_);
      source_ += stride_;
      target_ += kSide;
      fetched_ += fetched_stride_;
      if (++row_ == kSide) end_tile();
    }
  }

  AMX void finish() { advance(rows()); }

 private:
  // Which numbers of each pair are there.
  struct Present {
    int64_t rows;
    __mmask16 lanes;
  };

  static int64_t clamp(int64_t count) { return std::clamp<int64_t>(count, 0, kSide); }
  static __mmask16 mask(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }

  __attribute__((noinline)) AMX void begin_tile() {
    const Operand& o = operand_;
    const float* const data = o.data + tile_ * o.tile + step_ * o.step;
    const int64_t width = clamp(o.width - tile_ * kSide), depth = o.depth - step_ * kDepth;
    const int64_t first = clamp(depth), second = clamp(depth - kSide);
    first_ = o.depth_in_lanes ? Present{width, mask(first)} : Present{first, mask(width)};
    second_ = o.depth_in_lanes ? Present{width, mask(second)} : Present{second, mask(width)};
    target_ = o.target + tile_ * o.target_tile + step_ * kParts * kTile;
    row_ = 0;
    if (step_ + 1 < steps_) {
      fetched_ = data + o.step;
    } else {
      fetched_ = o.data + (tile_ + 1 < o.tiles ? (tile_ + 1) * o.tile : o.following);
    }
    if (o.lane == 1) {
      fetched_stride_ = stride_ = o.row;
      source_ = data;
      distance_ = o.second;
    } else {
      turn(data, o.depth_in_lanes ? first : width, mask(first_.rows), turned_);
      turn(data + o.second, o.depth_in_lanes ? second : width, mask(second_.rows), turned_ + kTile);
      fetched_stride_ = o.lane;
      source_ = turned_;
      stride_ = kSide;
      distance_ = kTile;
    }
  }

  __attribute__((noinline)) AMX void end_tile() {
    if (++step_ == steps_) {
      operand_.usual[tile_] = _mm512_cmp_ps_mask(unusual_, unusual_, _CMP_UNORD_Q) == 0;
      unusual_ = _mm512_setzero_ps();
      step_ = 0;
      ++tile_;
    }
    if (--left_ > 0) begin_tile();
  }

  // Transposes a square whose columns are lanes of the operand.
  INLINE_AMX void turn(const float* data, int64_t lanes, __mmask16 rows, float* turned) const {
    __m512 x[kSide];
#pragma GCC unroll 16
    for (int64_t l = 0; l < kSide; ++l)
      x[l] = _mm512_maskz_loadu_ps(l < lanes ? rows : 0, data + l * operand_.lane);
    transpose(x);
#pragma GCC unroll 16
    for (int64_t r = 0; r < kSide; ++r) _mm512_store_ps(turned + r * kSide, x[r]);
  }

  // Numbers within fours of lanes, then the fours. (The unmasked forms of these are warned of, for they make
  // a vector of nothing.)
  INLINE_AMX static void transpose(__m512 (&x)[kSide]) {
    constexpr __mmask16 kAll = 0xFFFF;
    __m512 y[kSide];
#pragma GCC unroll 8
    for (int i = 0; i < kSide; i += 2) {
      y[i] = _mm512_maskz_unpacklo_ps(kAll, x[i], x[i + 1]);
      y[i + 1] = _mm512_maskz_unpackhi_ps(kAll, x[i], x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kSide; i += 4) {
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
      x[i] = _mm512_maskz_shuffle_f32x4(kAll, y[i], y[i + 8], 0x88);
      x[i + 8] = _mm512_maskz_shuffle_f32x4(kAll, y[i], y[i + 8], 0xDD);
    }
  }

  alignas(64) float turned_[2 * kTile];
  __m512 unusual_ = {};
  Operand operand_{};
  int64_t steps_ = 0, left_ = 0;  // of a tile beside, and tiles of all
  int64_t tile_ = 0, step_ = 0, row_ = 0;
  const float *source_ = nullptr, *fetched_ = nullptr;
  uint32_t* target_ = nullptr;
  int64_t stride_ = 0, distance_ = 0, fetched_stride_ = 0;
  Present first_{}, second_{};
};

// What is split for later while a block is multiplied: so many rows with every call.
struct Ahead {
  Splitter a, b;
  int64_t a_rows = 0, b_rows = 0;
};

}  // namespace native::amx_tile
