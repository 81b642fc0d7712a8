#include "pixels.h"

#include <algorithm>

#include "../core/simd.h"

namespace native::data {
namespace {

inline int luma(int r, int g, int b) { return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16; }

// Pillow's blend: away from `degenerate` by `factor`, in float, truncated, clamped.
inline uint8_t blend(int degenerate, int value, float factor) {
  const float mixed = static_cast<float>(degenerate) + factor * static_cast<float>(value - degenerate);
  return static_cast<uint8_t>(std::clamp(static_cast<int>(mixed), 0, 255));
}

// Blends every byte with one grey level.
SIMD_CLONES void blend_with(int degenerate, uint8_t* bytes, size_t count, float factor) {
  for (size_t i = 0; i < count; ++i) bytes[i] = blend(degenerate, bytes[i], factor);
}

SIMD_CLONES uint64_t sum_of_luma(const uint8_t* rgb, size_t pixels) {
  uint64_t sum = 0;
  for (size_t i = 0; i < pixels; ++i)
    sum += static_cast<uint64_t>(luma(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]));
  return sum;
}

}  // namespace

void flip_horizontal(Image& image) {
  for (int y = 0; y < image.height; ++y) {
    uint8_t* left = image.bytes.data() + static_cast<size_t>(y) * image.width * 3;
    uint8_t* right = left + (image.width - 1) * 3;
    for (; left < right; left += 3, right -= 3) std::swap_ranges(left, left + 3, right);
  }
}

void adjust_brightness(uint8_t* rgb, size_t pixels, float factor) { blend_with(0, rgb, 3 * pixels, factor); }

void adjust_contrast(uint8_t* rgb, size_t pixels, float factor) {
  const double mean = static_cast<double>(sum_of_luma(rgb, pixels)) / static_cast<double>(pixels);
  blend_with(static_cast<int>(mean + 0.5), rgb, 3 * pixels, factor);
}

SIMD_CLONES void adjust_saturation(uint8_t* rgb, size_t pixels, float factor) {
  for (size_t i = 0; i < pixels; ++i) {
    const int r = rgb[3 * i], g = rgb[3 * i + 1], b = rgb[3 * i + 2], gray = luma(r, g, b);
    rgb[3 * i] = blend(gray, r, factor);
    rgb[3 * i + 1] = blend(gray, g, factor);
    rgb[3 * i + 2] = blend(gray, b, factor);
  }
}

SIMD_CLONES void to_gray(uint8_t* rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; ++i) {
    const auto gray = static_cast<uint8_t>(luma(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]));
    rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = gray;
  }
}

void apply(const Jitter& jitter, uint8_t* rgb, size_t pixels) {
  for (const int operation : jitter.order) {
    if (operation == 0) adjust_brightness(rgb, pixels, jitter.brightness);
    if (operation == 1) adjust_contrast(rgb, pixels, jitter.contrast);
    if (operation == 2) adjust_saturation(rgb, pixels, jitter.saturation);
    if (operation == 3) adjust_hue(rgb, pixels, jitter.hue);
  }
}

Normalizer::Normalizer(const std::array<double, 3>& mean, const std::array<double, 3>& std) {
  for (size_t c = 0; c < 3; ++c) {
    const float center = static_cast<float>(mean[c]);
    const double scale = 1.0 / static_cast<double>(static_cast<float>(std[c]));
    for (size_t value = 0; value < 256; ++value) {
      const float difference = static_cast<float>(value) - center;
      tables_[c][value] = static_cast<float>(difference * scale);
    }
  }
}

void Normalizer::operator()(const uint8_t* rgb, size_t pixels, float* planes) const {
  for (size_t c = 0; c < 3; ++c) {
    const std::array<float, 256>& table = tables_[c];
    float* plane = planes + c * pixels;
    for (size_t i = 0; i < pixels; ++i) plane[i] = table[rgb[3 * i + c]];
  }
}

}  // namespace native::data
