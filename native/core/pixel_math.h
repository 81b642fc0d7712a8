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

// On the host, a number as the compiler must have it by itself: it is not fused with what follows.
template <class T>
inline T unfused(T value) {
#if defined(__FMA__)
  asm("" : "+x"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}

// A product that is rounded before anything is added to it: compilers fuse the two, where the processor can,
// if they are not told.
HOST_DEVICE inline float product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return unfused(a * b);
#endif
}
HOST_DEVICE inline double product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return unfused(a * b);
#endif
}

// The distance in the source between neighbours of the result, along an axis.
inline double axis_scale(int from, int to) { return 1.0 / (static_cast<double>(to) / from); }

// A pixel of the result along an axis of `from` pixels: the first of its two neighbours and their weights in
// 1/2048. `inside` (columns) moves the neighbours into the picture and the weights with them; rows keep their
// weights, and the neighbours (from -1 on) are clamped where they are read.
struct AxisWeights {
  int first, low, high;
};
HOST_DEVICE inline AxisWeights axis_weights(int index, int from, double scale, bool inside) {
  const float position = static_cast<float>(product(index + 0.5, scale) - 0.5);
  int first = static_cast<int>(floorf(position));
  float part = position - static_cast<float>(first);
  if (inside && first < 0) first = 0, part = 0;
  if (inside && first >= from - 1) first = from > 2 ? from - 2 : 0, part = 1;
  return {first, static_cast<int>(rintf((1.0f - part) * 2048.0f)), static_cast<int>(rintf(part * 2048.0f))};
}

// A pixel between two columns and two rows of a picture of `height` rows. fetch(side, row): that of the left
// (0) or right (1) column.
template <class Fetch>
HOST_DEVICE Rgb bilinear(const AxisWeights& column, const AxisWeights& row, int height, const Fetch& fetch) {
  struct Sums {
    int r, g, b;
  };
  const auto blended = [&](int line) -> Sums {  // two neighbours in a row
    line = line < 0 ? 0 : line > height - 1 ? height - 1 : line;
    const Rgb left = fetch(0, line), right = fetch(1, line);
    return {(left.r * column.low + right.r * column.high) >> 4,
            (left.g * column.low + right.g * column.high) >> 4,
            (left.b * column.low + right.b * column.high) >> 4};
  };
  const Sums upper = blended(row.first), lower = blended(row.first + 1);
  const auto mixed = [&](int above, int below) {
    return static_cast<uint8_t>((((row.low * above) >> 16) + ((row.high * below) >> 16) + 2) >> 2);
  };
  return {mixed(upper.r, lower.r), mixed(upper.g, lower.g), mixed(upper.b, lower.b)};
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

// Turns the hue by `shift` / 255 of a circle, modulo 256, in 8-bit HSV; native/data/hue.cc says why float is
// enough.
HOST_DEVICE inline Rgb turn_hue(Rgb p, int shift) {
  const int r = p.r, g = p.g, b = p.b;
  const int high = r > g ? (r > b ? r : b) : (g > b ? g : b), low = r < g ? (r < b ? r : b) : (g < b ? g : b);
  const int middle = r + g + b - high - low;
  const bool red = r == high, green = !red && g == high;
  const bool falling = (red ? b : green ? r : g) == low;  // the channel before the highest one
  const float part = static_cast<float>(high - middle) / static_cast<float>(high > low ? high - low : 1);
  const float whole = static_cast<float>((red ? 0 : green ? 2 : 4) + (falling ? 1 : -1));
  const float sextants = falling ? whole - part : whole + part;                  // -1 .. 5
  const double turns = product(static_cast<double>(sextants), 1.0 / 6.0) + 1.0;  // 0.8 .. 1.9
  const float hue = static_cast<float>(turns - static_cast<int>(turns));
  const int turned = (static_cast<int>(hue * 255.0f) + shift) & 255;
  const float saturation = static_cast<float>(high - low) / static_cast<float>(high > 1 ? high : 1);
  const float strength = static_cast<float>(static_cast<int>(saturation * 255.0f)) / 255.0f;
  // Back: the highest channel stays, the lowest is the bottom, the one between rises or falls within the
  // sextant.
  const int position = 6 * turned, sextant = position / 255;  // 0 .. 6
  const float fraction = static_cast<float>(position - 255 * sextant) / 255.0f;
  const float away = product(strength, sextant & 1 ? fraction : 1.0f - fraction);
  const auto level = [high](float share) {
    return static_cast<uint8_t>(static_cast<int>(product(static_cast<float>(high), share) + 0.5f));
  };
  const uint8_t v = static_cast<uint8_t>(high), bottom = level(1.0f - strength), between = level(1.0f - away);
  if (sextant == 1) return {between, v, bottom};
  if (sextant == 2) return {bottom, v, between};
  if (sextant == 3) return {bottom, between, v};
  if (sextant == 4) return {between, bottom, v};
  if (sextant == 5) return {v, bottom, between};
  return {v, between, bottom};
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
  double whole_scale[2], crop_scale[2];  // axis_scale of both resizes, x and y
};

// Column x of the result of `width` x `height` before any colour changes: what all its pixels have in common.
class EditedColumn {
 public:
  HOST_DEVICE EditedColumn(const FrameEdit& edit, int width, int height, int x) : e(edit) {
    resized_ = e.resized_width != e.width || e.resized_height != e.height;
    crop_resized_ = e.crop_width != width || e.crop_height != height;
    const int column = e.flip ? width - 1 - x : x;
    int columns[2] = {column, column};  // of the crop
    if (crop_resized_) {
      crop_ = axis_weights(column, e.crop_width, e.crop_scale[0], true);
      columns[0] = crop_.first;
      columns[1] = e.crop_width > 1 ? crop_.first + 1 : crop_.first;
    }
    for (int side = 0; side < 2; ++side) {
      const int at = e.x + columns[side];
      whole_[side] = resized_ && (crop_resized_ || side == 0)
                         ? axis_weights(at, e.width, e.whole_scale[0], true)
                         : AxisWeights{at, 0, 0};
    }
  }

  HOST_DEVICE Rgb pixel(const uint8_t* frames, int y) const {
    const uint8_t* frame = frames + e.offset;
    const auto stored = [&](int column, int line) -> Rgb {
      const uint8_t* p = frame + (static_cast<int64_t>(line) * e.width + column) * 3;
      return {p[0], p[1], p[2]};
    };
    const int next = e.width > 1 ? 1 : 0;
    const auto cropped = [&](int side, int line) -> Rgb {
      const AxisWeights& column = whole_[side];
      if (!resized_) return stored(column.first, e.y + line);
      return bilinear(column, axis_weights(e.y + line, e.height, e.whole_scale[1], false), e.height,
                      [&](int right, int row) { return stored(column.first + right * next, row); });
    };
    if (!crop_resized_) return cropped(0, y);
    return bilinear(crop_, axis_weights(y, e.crop_height, e.crop_scale[1], false), e.crop_height, cropped);
  }

 private:
  const FrameEdit& e;
  bool resized_, crop_resized_;
  AxisWeights crop_{}, whole_[2];  // of the crop, and of the whole picture at both neighbours in the crop
};

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

// The place of the first operation there is, or 4.
HOST_DEVICE inline int change_place(const FrameEdit& e) {
  int place = 0;
  while (place < 4 && e.operations[place] < 0) ++place;
  return place;
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
