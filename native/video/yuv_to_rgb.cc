#include "yuv_to_rgb.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "../core/simd.h"
#include "scaler.h"

namespace native::video {
namespace {

// Levels times 8 are multiplied by these in units of 2^-13, and what is below a level is cut off after each
// product.
struct Factors {
  int16_t black, y, v_to_r, u_to_g, v_to_g, u_to_b;
};

// A factor in units of 2^-16 in those of 2^-13.
int16_t factor_of(int64_t value) { return static_cast<int16_t>((value * 8192 + 32768) >> 16); }

Factors factors_of(const AVFrame& frame) {
  // The numbers in enums that may come from the file as they are and have no name.
  int space, range;
  memcpy(&space, &frame.colorspace, sizeof space);
  memcpy(&range, &frame.color_range, sizeof range);
  const bool is_full = range == AVCOL_RANGE_JPEG;   // decoders say so of YUVJ formats too
  const int* const table = coefficients_of(space);  // v to r, u to b, u to g, v to g, of narrow chroma
  const auto chroma = [is_full](int64_t value) { return factor_of(is_full ? value * 224 / 255 : value); };
  const int64_t y = is_full ? 65536 : 65536 * 255 / 219;
  return {static_cast<int16_t>(is_full ? 0 : 8 * 16),
          factor_of(y),
          chroma(table[0]),
          chroma(-int64_t{table[2]}),
          chroma(-int64_t{table[3]}),
          chroma(table[1])};
}

// Rows of chroma for each two rows of pixels; 0 for other formats.
int chroma_rows(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUV420P:
    case AV_PIX_FMT_YUVJ420P:
      return 1;
    case AV_PIX_FMT_YUV422P:
    case AV_PIX_FMT_YUVJ422P:
      return 2;
    default:
      return 0;
  }
}

inline int product(int16_t a, int16_t b) { return (int{a} * int{b}) >> 16; }

inline uint8_t level(int value) { return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value); }

SIMD_CLONES void convert_row(const uint8_t* y, const uint8_t* u, const uint8_t* v, int width, Factors f,
                             uint8_t* to) {
  constexpr int kBlock = 64;
  for (int begin = 0; begin < width; begin += kBlock) {
    // Whole pairs of pixels: the last may be half behind the row, where lines of decoders go on.
    const int pairs = std::min(kBlock, width - begin + 1) / 2, count = std::min(kBlock, width - begin);
    int16_t red[kBlock], green[kBlock], blue[kBlock];
    for (int i = 0; i < pairs; ++i) {
      const auto cb = static_cast<int16_t>(u[begin / 2 + i] * 8 - 1024);
      const auto cr = static_cast<int16_t>(v[begin / 2 + i] * 8 - 1024);
      red[2 * i] = red[2 * i + 1] = static_cast<int16_t>(product(cr, f.v_to_r));
      green[2 * i] = green[2 * i + 1] = static_cast<int16_t>(product(cb, f.u_to_g) + product(cr, f.v_to_g));
      blue[2 * i] = blue[2 * i + 1] = static_cast<int16_t>(product(cb, f.u_to_b));
    }
    for (int i = 0; i < count; ++i) {
      const int grey = product(static_cast<int16_t>(y[begin + i] * 8 - f.black), f.y);
      uint8_t* const pixel = to + 3 * (begin + i);
      pixel[0] = level(grey + red[i]);
      pixel[1] = level(grey + green[i]);
      pixel[2] = level(grey + blue[i]);
    }
  }
}

}  // namespace

bool yuv_to_rgb_applies(const AVFrame& frame) {
#ifdef __x86_64__
  static const char* const setting = getenv("NATIVE_YUV_TO_RGB");
  static const bool is_ours = setting != nullptr && strcmp(setting, "own") == 0;
#else
  constexpr bool is_ours = true;
#endif
  return is_ours && chroma_rows(frame) > 0 && frame.height % 2 == 0;
}

void yuv_to_rgb(const AVFrame& frame, uint8_t* to, size_t stride) {
  const Factors factors = factors_of(frame);
  const auto row_of = [&frame](int plane, int row) {
    return frame.data[plane] + ptrdiff_t{row} * frame.linesize[plane];
  };
  const int rows = chroma_rows(frame);
  for (int row = 0; row < frame.height; ++row) {
    const int chroma = row * rows / 2;
    convert_row(row_of(0, row), row_of(1, chroma), row_of(2, chroma), frame.width, factors,
                to + static_cast<size_t>(row) * stride);
  }
}

}  // namespace native::video
