// What happens to one pixel of a frame on its way to a network: OpenCV's bilinear resize of bytes and
// Pillow's colour operations, bit for bit, as plain functions that a host and a device compiler both take.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif

namespace native {

struct Rgb {
  uint8_t r, g, b;
};

// A product that is rounded before anything is added to it: device compilers fuse the two where they are not
// told.
HOST_DEVICE inline float product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
HOST_DEVICE inline double product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

// Position `index` of `to` pixels along an axis of `from`: the first of its two neighbours and their weights
// in 1/2048. `inside` (columns) moves the neighbours into the picture and the weights with them; rows keep
// their weights, and the neighbours (from -1 on) are clamped where they are read.
struct AxisWeights {
  int first, low, high;
};
HOST_DEVICE inline AxisWeights axis_weights(int index, int from, int to, bool inside) {
  const double scale = 1.0 / (static_cast<double>(to) / from);
  const float position = static_cast<float>(product(index + 0.5, scale) - 0.5);
  int first = static_cast<int>(floorf(position));
  float part = position - static_cast<float>(first);
  if (inside && first < 0) first = 0, part = 0;
  if (inside && first >= from - 1) first = from > 2 ? from - 2 : 0, part = 1;
  return {first, static_cast<int>(rintf((1.0f - part) * 2048.0f)), static_cast<int>(rintf(part * 2048.0f))};
}

// Pixel (x, y) of a picture of from_width x from_height pixels, fetch(x, y), brought to to_width x to_height.
template <class Fetch>
HOST_DEVICE Rgb bilinear(int x, int y, int from_width, int from_height, int to_width, int to_height,
                         const Fetch& fetch) {
  const AxisWeights column = axis_weights(x, from_width, to_width, true);
  const AxisWeights row = axis_weights(y, from_height, to_height, false);
  const int right = from_width > 1 ? column.first + 1 : column.first;
  int sums[2][3];
  for (int i = 0; i < 2; ++i) {
    const int line = row.first + i < 0                 ? 0
                     : row.first + i > from_height - 1 ? from_height - 1
                                                       : row.first + i;
    const Rgb a = fetch(column.first, line), b = fetch(right, line);
    sums[i][0] = (a.r * column.low + b.r * column.high) >> 4;
    sums[i][1] = (a.g * column.low + b.g * column.high) >> 4;
    sums[i][2] = (a.b * column.low + b.b * column.high) >> 4;
  }
  uint8_t result[3];
  for (int c = 0; c < 3; ++c) {
    const int upper = (row.low * sums[0][c]) >> 16, lower = (row.high * sums[1][c]) >> 16;
    result[c] = static_cast<uint8_t>((upper + lower + 2) >> 2);
  }
  return {result[0], result[1], result[2]};
}

HOST_DEVICE inline int luma(Rgb p) { return (19595 * p.r + 38470 * p.g + 7471 * p.b + 32768) >> 16; }

// Away from `degenerate` by `factor`, clamped, truncated.
HOST_DEVICE inline uint8_t blend_level(int degenerate, int value, float factor) {
  const float mixed =
      static_cast<float>(degenerate) + product(factor, static_cast<float>(value - degenerate));
  return static_cast<uint8_t>(mixed < 0.0f ? 0.0f : mixed > 255.0f ? 255.0f : mixed);
}
HOST_DEVICE inline Rgb blend_pixel(int degenerate, Rgb p, float factor) {
  return {blend_level(degenerate, p.r, factor), blend_level(degenerate, p.g, factor),
          blend_level(degenerate, p.b, factor)};
}

// Turns the hue by `shift` / 255 of a circle, modulo 256, in 8-bit HSV; single and double precision where
// Pillow has them.
HOST_DEVICE inline Rgb turn_hue(Rgb p, int shift) {
  const int r = p.r, g = p.g, b = p.b;
  const int high = r > g ? (r > b ? r : b) : (g > b ? g : b), low = r < g ? (r < b ? r : b) : (g < b ? g : b);
  const bool red = r == high, green = !red && g == high;
  const double base = red ? 0 : green ? 2 : 4;
  const int plus = high - (red ? b : green ? r : g), minus = high - (red ? g : green ? b : r);
  const float range = static_cast<float>(high > low ? high - low : 1);
  const float up = static_cast<float>(plus) / range, down = static_cast<float>(minus) / range;
  const float sextants = static_cast<float>(base + up - down);  // -1 .. 5
  const double turn = sextants / 6.0 + 1.0;                     // 0.8 .. 1.9
  const float hue = static_cast<float>(turn >= 1.0 ? turn - 1.0 : turn);
  const float saturation = static_cast<float>(high - low) / static_cast<float>(high > 1 ? high : 1);
  const int turned = (static_cast<int>(hue * 255.0) + shift) & 255;
  const float strength = static_cast<float>(static_cast<int>(saturation * 255.0) / 255.0);
  const double position = turned * 6.0 / 255.0;
  const int whole = static_cast<int>(position);
  const float fraction = static_cast<float>(position - whole);
  const auto level = [high](double share) {
    return static_cast<uint8_t>(static_cast<int>(product(static_cast<double>(high), share) + 0.5));
  };
  const uint8_t v = static_cast<uint8_t>(high), bottom = level(1.0 - strength),
                falling = level(1.0 - product(strength, fraction)),
                rising = level(1.0 - product(static_cast<double>(strength), 1.0 - fraction));
  switch (whole % 6) {
    case 0:
      return {v, rising, bottom};
    case 1:
      return {falling, v, bottom};
    case 2:
      return {bottom, v, rising};
    case 3:
      return {bottom, falling, v};
    case 4:
      return {rising, bottom, v};
    default:
      return {v, bottom, falling};
  }
}

// What is done to one frame, in this order: the whole picture is brought to resized_width x resized_height, a
// part of it cut out and brought to the size of the result, mirrored, its colours changed, its colours taken
// away.
struct FrameEdit {
  int64_t offset;         // of its first byte; RGB rows without gaps
  int32_t width, height;  // as stored
  int32_t resized_width, resized_height;
  int32_t x, y, crop_width, crop_height;  // within the resized picture
  bool flip, gray;
  int8_t operations[4];  // 0 brightness, 1 contrast, 2 saturation, 3 hue, in this order; -1 none
  float brightness, contrast, saturation;
  int32_t hue_shift;
};

// Pixel (x, y) of the result of `width` x `height` before any colour changes.
HOST_DEVICE inline Rgb edited_pixel(const uint8_t* frames, const FrameEdit& e, int width, int height, int x,
                                    int y) {
  const uint8_t* frame = frames + e.offset;
  const auto stored = [&](int column, int line) -> Rgb {
    const uint8_t* p = frame + (static_cast<int64_t>(line) * e.width + column) * 3;
    return {p[0], p[1], p[2]};
  };
  const bool resized = e.resized_width != e.width || e.resized_height != e.height;
  const auto cropped = [&](int column, int line) -> Rgb {
    if (!resized) return stored(e.x + column, e.y + line);
    return bilinear(e.x + column, e.y + line, e.width, e.height, e.resized_width, e.resized_height, stored);
  };
  const int column = e.flip ? width - 1 - x : x;
  if (e.crop_width == width && e.crop_height == height) return cropped(column, y);
  return bilinear(column, y, e.crop_width, e.crop_height, width, height, cropped);
}

// Applies operations first .. last - 1. `mean` is the grey level that contrast moves away from.
HOST_DEVICE inline Rgb change_colors(Rgb p, const FrameEdit& e, int first, int last, int mean) {
  for (int i = first; i < last; ++i) {
    if (e.operations[i] == 0) p = blend_pixel(0, p, e.brightness);
    if (e.operations[i] == 1) p = blend_pixel(mean, p, e.contrast);
    if (e.operations[i] == 2) p = blend_pixel(luma(p), p, e.saturation);
    if (e.operations[i] == 3) p = turn_hue(p, e.hue_shift);
  }
  return p;
}

// The place of contrast among the operations, or 4.
HOST_DEVICE inline int contrast_place(const FrameEdit& e) {
  int place = 0;
  while (place < 4 && e.operations[place] != 1) ++place;
  return place;
}

// The grey level of a picture whose lumas add up to `sum`.
HOST_DEVICE inline int mean_level(int64_t sum, int64_t pixels) {
  return static_cast<int>(static_cast<double>(sum) / static_cast<double>(pixels) + 0.5);
}

}  // namespace native
