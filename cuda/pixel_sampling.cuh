// Pictures that are resized once, or not at all: a warp makes 32 or 64 columns of consecutive rows. A
// column's weights are worked out once per lane, a row's once per block, and two neighbours in a row of the
// frame are blended once for the rows of the result above and below it.
//
// The arithmetic is that of bilinear() in core/pixel_math.h, bit for bit, on floats that hold integers: a sum
// rounded down where floats are 1 apart is the integer quotient that is wanted there, and such sums
// are issued twice as often as shifts. What is above the integer is a constant, which the next weight
// multiplies too and the next constant takes away.
#pragma once

#include <primitives/device.cuh>

#include "core/pixel_math.h"

namespace native::cuda {

// Weights are in 1/2048 and bytes below 256: sums along a row are below 2^20, their 16ths below 2^16.
inline constexpr uint32_t kSixteenthBits = 0x49000000;  // 2^19, where floats are 1/16 apart
inline constexpr float kWhole = 8388608.0f;             // 2^23: from here on they are 1 apart,
inline constexpr float kMiddle = 12582912.0f;           // 1.5 x 2^23: here to both sides

// Where a row of the result lies between two of the frame.
struct alignas(16) RowSource {
  uint32_t upper, lower;  // bytes from the frame's beginning
  float above, below;     // weights, in 1/65536 of theirs
  float rest;             // 1.5 x 2^23 + 2, less both weights times 2^23
  int fresh;  // how many of the two were not blended for the row before: 0, 1 (then upper was lower) or 2
};
// Where a column lies: between `first` and its right neighbour, which the frame has too.
struct ColumnSource {
  uint32_t first;    // bytes from a row's beginning
  uint32_t weights;  // of the left one in the lower half, of the right one in the upper
};

__host__ __device__ inline bool crop_is_resized(const FrameEdit& e, int width, int height) {
  return e.crop_width != width || e.crop_height != height;
}
// Whether the above holds for this picture.
__host__ __device__ inline bool is_sampled_once(const FrameEdit& e, int width, int height) {
  const bool whole = e.resized_width != e.width || e.resized_height != e.height;
  const bool crop = crop_is_resized(e, width, height);
  return e.width > 1 && !(crop && (whole || e.crop_width == 1));
}

// `first`: of a run, so that no row was before it.
__device__ __forceinline__ RowSource row_source(const FrameEdit& e, int width, int height, int y,
                                                bool first) {
  const bool crop = crop_is_resized(e, width, height);
  const int count = crop ? e.crop_height : e.height, top = crop ? e.y : 0;
  const double scale = crop ? e.crop_scale[1] : e.whole_scale[1];
  const int index = crop ? y : e.y + y;
  const auto inside = [&](int row) { return row < 0 ? 0 : row > count - 1 ? count - 1 : row; };
  const auto at = [&](int row) {
    return static_cast<uint32_t>(top + inside(row)) * static_cast<uint32_t>(e.width * 3);
  };
  const AxisWeights w = axis_weights(index, count, scale, false);
  const int before = axis_weights(index - 1, count, scale, false).first;
  RowSource source{at(w.first),
                   at(w.first + 1),
                   static_cast<float>(w.low) / 65536,
                   static_cast<float>(w.high) / 65536,
                   0,
                   first || w.first > before + 1 ? 2 : w.first - before};
  source.rest = kMiddle + 2 - (source.above + source.below) * kWhole;
  return source;
}

__device__ __forceinline__ ColumnSource column_source(const FrameEdit& e, int width, int height, int x) {
  const bool crop = crop_is_resized(e, width, height);
  const int column = e.flip ? width - 1 - x : x;
  const AxisWeights w = crop ? axis_weights(column, e.crop_width, e.crop_scale[0], true)
                             : axis_weights(e.x + column, e.width, e.whole_scale[0], true);
  return {static_cast<uint32_t>(w.first + (crop ? e.x : 0)) * 3,
          static_cast<uint32_t>(w.low) | static_cast<uint32_t>(w.high) << 16};
}

// Three channels of two neighbours in a row, blended: 2^23 + the integer.
struct BlendedRow {
  float r, g, b;
};
// `at`: of the left pixel's first byte, from `words` on. Reads no word that holds none of the two's bytes.
__device__ __forceinline__ BlendedRow blend_columns(const uint32_t* words, uint32_t at, uint32_t weights) {
  const uint32_t* first = words + at / 4;
  const uint32_t low = first[0], middle = first[1];
  uint32_t high = 0;
  if (at % 4 == 3) high = first[2];
  const uint32_t begin = shifted_pair(low, middle, at * 8), end = shifted_pair(middle, high, at * 8);
  const uint32_t red_green = pick_bytes(begin, end, 0x4130), blue = pick_bytes(begin, end, 0x5252);
  const auto quotient = [](uint32_t sum) { return sum_down(float_of_bits(sum), kWhole - kWhole / 16); };
  return {quotient(dot_low(weights, red_green, kSixteenthBits)),
          quotient(dot_high(weights, red_green, kSixteenthBits)),
          quotient(dot_low(weights, blue, kSixteenthBits))};
}

__device__ __forceinline__ uint32_t blend_rows(const RowSource& row, float above, float below) {
  return bits_of(fused_down(below, row.below, fused_down(above, row.above, row.rest))) >> 2 & 0xFF;
}

// use(i, r, g, b), numbers below 256 of column i, then next() for `count` rows of the result, one after the
// other, whose sources are `rows`.
template <int kColumns, class Use, class Next>
__device__ __forceinline__ void sample_rows(const uint8_t* frame, const RowSource* rows, int count,
                                            const ColumnSource (&columns)[kColumns], const Use& use,
                                            const Next& next) {
  const uint32_t behind = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(frame) & 3);
  const auto* words = reinterpret_cast<const uint32_t*>(frame - behind);
  BlendedRow above[kColumns] = {}, below[kColumns] = {};
#pragma unroll 1
  for (const RowSource* end = rows + count; rows < end; ++rows, next()) {
    const RowSource row = *rows;
    const auto blend = [&](BlendedRow(&to)[kColumns], uint32_t from) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        to[i] = blend_columns(words, behind + columns[i].first + from, columns[i].weights);
    };
    if (row.fresh > 0) {
      if (row.fresh == 1) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) above[i] = below[i];
      } else {
        blend(above, row.upper);
      }
      blend(below, row.lower);
    }
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      use(i, blend_rows(row, above[i].r, below[i].r), blend_rows(row, above[i].g, below[i].g),
          blend_rows(row, above[i].b, below[i].b));
    }
  }
}

}  // namespace native::cuda
