// Operands of amx_gemm.cc as tiles of bfloat16. A lane of a tile has a pair of numbers that follow each other
// in depth, in the same way in a and b: float32 numbers 16 apart, bfloat16 numbers side by side.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "cpu/amx_tile.h"
#include "cpu/transpose.h"

namespace native::amx_tile {

typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t HalfWords __attribute__((vector_size(32)));

INLINE_AMX void store(uint32_t* target, Words words) {
  _mm512_store_si512(target, reinterpret_cast<__m512i>(words));
}

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

// A row of the tile of each part. Of the third nothing is cut off, for no more than eight bits are left.
// `unusual` becomes NaN where a number is infinite, NaN or rounded to infinity.
INLINE_AMX void split_pairs(__m512 x, __m512 y, uint32_t* target, __m512& unusual) {
  store(target, round_pairs(x, y));
  store(target + kTile, round_pairs(x, y));
  store(target + 2 * kTile, high_halves(reinterpret_cast<Words>(x), reinterpret_cast<Words>(y)));
  unusual += x * 0.0f + y * 0.0f;
}

// A part of an operand, to be made into `tiles` tiles side by side as deep as it is.
template <class T>
struct Operand {
  const T* data;
  int64_t across, down;  // from a number to the one beside it and to the one below it; one of them is 1
  int64_t tiles, width, depth;  // numbers beside each other, and deep; what tiles have beyond is 0
  bool depth_in_lanes;          // as in a; in b it is in rows
  int64_t following;            // from this part to the one that is wanted after it
  uint32_t* target;             // [tiles][target_tile], of which the first [depth / kDepth][kParts<T>][kTile]
  int64_t target_tile;
  bool* usual;  // [tiles]: takes whether all numbers of a tile have parts, as infinity and NaN have not
};

// Makes the tiles, of float32 row by row and of bfloat16 each at once: between the products of tiles there is
// room for that. What will be read soon is fetched into L2.
template <class T>
class Splitter {
 public:
  Splitter() = default;
  Splitter(const Splitter&) = delete;  // it points into itself
  Splitter& operator=(const Splitter&) = delete;

  // From now on this is made.
  AMX void begin(const Operand<T>& operand) {
    operand_ = operand;
    steps_ = (operand.depth + kDepth - 1) / kDepth;
    left_ = operand.tiles * steps_;
    is_deep_ = operand.down == 1;
    is_turned_ = is_deep_ != operand.depth_in_lanes;
    if constexpr (kIsFloat) {
      stride_ = is_deep_ ? operand.across : operand.down;
      second_ = kSide * operand.down;
    } else {
      stride_ = is_deep_ ? operand.across : 2 * operand.down;
      second_ = is_deep_ ? kDepth - 1 : operand.down;
    }
    tile_ = step_ = 0;
    unusual_ = _mm512_setzero_ps();
    if (left_ > 0) begin_tile();
  }

  // Rows or tiles that are made in all.
  int64_t units() const { return operand_.tiles * steps_ * kUnits; }

  INLINE_AMX void advance(int64_t units) {
    for (; units > 0 && left_ > 0; --units) {
      if constexpr (kIsFloat) {
        fetch();
        make_row();
      } else {
        make_tile();
      }
      if (++row_ == kUnits) end_tile();
    }
  }

  AMX void finish() { advance(units()); }

 private:
  static constexpr bool kIsFloat = std::is_same_v<T, float>;
  static constexpr int64_t kUnits = kIsFloat ? kSide : 1;  // of a tile
  static constexpr int64_t kFetched = kIsFloat ? 1 : 3;    // tiles later what is fetched is made

  // The first `count` vectors of a tile are there, and of each the lanes of the mask.
  struct Present {
    int64_t count;
    __mmask16 lanes;
  };

  INLINE_AMX static __mmask32 mask(int64_t count) {
    return count <= 0 ? 0 : count >= kDepth ? ~0u : (1u << count) - 1;
  }
  INLINE_AMX static __mmask16 short_mask(int64_t count) {
    return static_cast<__mmask16>(mask(std::min(count, kSide)));
  }

  INLINE_AMX static __m512 load(const float* at, int64_t i, const Present& present) {
    return _mm512_maskz_loadu_ps(i < present.count ? present.lanes : 0, at);
  }

  INLINE_AMX static Words load_wide(const bfloat16* at, __mmask16 present) {
    return __builtin_convertvector(reinterpret_cast<HalfWords>(_mm256_maskz_loadu_epi16(present, at)), Words);
  }
  template <bool is_whole>
  INLINE_AMX Words load_pairs(int64_t i) const {
    const bfloat16* const x = source_ + i * stride_;
    if (is_deep_) {
      const __mmask32 present = is_whole ? ~0u : i < width_ ? mask(depth_) : 0;
      return reinterpret_cast<Words>(_mm512_maskz_loadu_epi16(present, x));
    }
    const auto present = static_cast<__mmask16>(is_whole ? 0xFFFF : mask(width_));
    const __mmask16 first = is_whole || 2 * i < depth_ ? present : 0;
    const __mmask16 second = is_whole || 2 * i + 1 < depth_ ? present : 0;
    return load_wide(x, first) | (load_wide(x + second_, second) << 16);
  }

  INLINE_AMX void fetch() {
    _mm_prefetch(fetched_, _MM_HINT_T1);
    _mm_prefetch(fetched_ + second_, _MM_HINT_T1);
    fetched_ += stride_;
  }

  INLINE_AMX void make_row() {
    const __m512 x = load(row_source_, row_, first_), y = load(row_source_ + row_second_, row_, last_);
    split_pairs(x, y, target_, unusual_);
    row_source_ += row_stride_;
    target_ += kSide;
  }

  __attribute__((noinline)) AMX void make_tile() {
    if (width_ == kSide && depth_ >= kDepth) {
      make_tile_of<true>();
    } else {
      make_tile_of<false>();
    }
  }

  template <bool is_whole>
  INLINE_AMX void make_tile_of() {
    __m512 x[kSide];
#pragma GCC unroll 16
    for (int64_t i = 0; i < kSide; ++i) {
      fetch();
      x[i] = reinterpret_cast<__m512>(load_pairs<is_whole>(i));
    }
    if (is_turned_) transpose_square(x);
#pragma GCC unroll 16
    for (int64_t i = 0; i < kSide; ++i) store(target_ + i * kSide, reinterpret_cast<Words>(x[i]));
  }

  const T* at(int64_t tile, int64_t step) const {
    return operand_.data + tile * kSide * operand_.across + step * kDepth * operand_.down;
  }

  // The numbers that come `ahead` tiles later, beyond the last tile those of what follows.
  const T* at_later(int64_t ahead) const {
    int64_t tile = tile_, step = step_ + ahead;
    for (; step >= steps_ && tile < operand_.tiles; step -= steps_) ++tile;
    return tile < operand_.tiles ? at(tile, step) : at(0, step) + operand_.following;
  }

  __attribute__((noinline)) AMX void begin_tile() {
    const Operand<T>& o = operand_;
    source_ = at(tile_, step_);
    width_ = std::min(o.width - tile_ * kSide, kSide);
    depth_ = o.depth - step_ * kDepth;
    target_ = o.target + tile_ * o.target_tile + step_ * kParts<T> * kTile;
    row_ = 0;
    fetched_ = at_later(kFetched);
    if constexpr (kIsFloat) begin_rows();
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

  // Where vectors are columns, rows are made of them beforehand.
  INLINE_AMX void begin_rows() {
    const int64_t above = std::min(depth_, kSide), below = depth_ - kSide;
    first_ = is_deep_ ? Present{width_, short_mask(above)} : Present{above, short_mask(width_)};
    last_ = is_deep_ ? Present{width_, short_mask(below)} : Present{below, short_mask(width_)};
    row_source_ = source_;
    row_stride_ = stride_;
    row_second_ = second_;
    if (!is_turned_) return;
    turn(source_, first_, turned_);
    turn(source_ + second_, last_, turned_ + kTile);
    first_ = last_ = {kSide, 0xFFFF};
    row_source_ = turned_;
    row_stride_ = kSide;
    row_second_ = kTile;
  }

  INLINE_AMX void turn(const float* columns, const Present& present, float* rows) const {
    __m512 x[kSide];
#pragma GCC unroll 16
    for (int64_t i = 0; i < kSide; ++i) x[i] = load(columns + i * stride_, i, present);
    transpose_square(x);
#pragma GCC unroll 16
    for (int64_t i = 0; i < kSide; ++i) _mm512_store_ps(rows + i * kSide, x[i]);
  }

  alignas(64) float turned_[kIsFloat ? 2 * kTile : 1];
  __m512 unusual_;
  Operand<T> operand_{};
  int64_t steps_ = 0, left_ = 0;  // of a tile beside, and tiles of all
  bool is_deep_ = false, is_turned_ = false;
  int64_t stride_ = 0, second_ = 0;  // from a vector to the next, and to where its second half begins
  int64_t tile_ = 0, step_ = 0, row_ = 0;
  const T *source_ = nullptr, *fetched_ = nullptr;
  int64_t width_ = 0, depth_ = 0;
  uint32_t* target_ = nullptr;
  // Of float32: where the pairs of the next row are, in memory or turned.
  const float* row_source_ = nullptr;
  int64_t row_stride_ = 0, row_second_ = 0;
  Present first_{}, last_{};
};

// Deals units of work to calls, as evenly as a regular pattern does, which the processor foresees.
class Pace {
 public:
  Pace() = default;
  Pace(int64_t units, int64_t calls)
      : every_(units > 0 ? std::max<int64_t>(1, calls / units) : calls),
        at_once_((units * every_ + calls - 1) / calls),
        wait_(every_) {}

  // Units of the next call.
  INLINE_AMX int64_t next() {
    if (--wait_ > 0) return 0;
    wait_ = every_;
    return at_once_;
  }

 private:
  int64_t every_ = 1, at_once_ = 0, wait_ = 1;
};

// What is made into tiles for later while a block is multiplied.
template <class T>
struct Ahead {
  Splitter<T> a, b;
  Pace a_pace, b_pace;

  INLINE_AMX void advance_a() { a.advance(a_pace.next()); }
  INLINE_AMX void advance_b() { b.advance(b_pace.next()); }
};

}  // namespace native::amx_tile
