#include "pixels.h"

#include <algorithm>
#include <cmath>

namespace native::data {
namespace {

uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16);
}

// Pillow's blend: away from `degenerate` by `factor`, in float, clamped, truncated.
uint8_t blend(int degenerate, int value, float factor) {
  const float mixed = static_cast<float>(degenerate) + factor * static_cast<float>(value - degenerate);
  return static_cast<uint8_t>(std::clamp(mixed, 0.0f, 255.0f));
}

// Blends every byte with one grey level: a table of 256 entries does it.
void blend_with(int degenerate, uint8_t* rgb, size_t pixels, float factor) {
  std::array<uint8_t, 256> table;
  for (int value = 0; value < 256; ++value)
    table[static_cast<size_t>(value)] = blend(degenerate, value, factor);
  for (size_t i = 0; i < pixels * 3; ++i) rgb[i] = table[rgb[i]];
}

struct Hsv {
  uint8_t hue, saturation, value;
};

// Pillow's 8-bit HSV; single and double precision stand where its C code has them.
Hsv to_hsv(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int high = std::max(r, std::max(g, b)), low = std::min(r, std::min(g, b));
  if (low == high) return {0, 0, static_cast<uint8_t>(high)};
  const float range = static_cast<float>(high - low);
  const float saturation = range / static_cast<float>(high);
  const float rc = static_cast<float>(high - r) / range;
  const float gc = static_cast<float>(high - g) / range;
  const float bc = static_cast<float>(high - b) / range;
  float hue;  // in sextants, -1..5
  if (r == high) {
    hue = bc - gc;
  } else if (g == high) {
    hue = static_cast<float>(2.0 + rc - bc);
  } else {
    hue = static_cast<float>(4.0 + gc - rc);
  }
  const double turn = hue / 6.0 + 1.0;  // 0.8..1.9, so its fraction needs one comparison
  hue = static_cast<float>(turn >= 1.0 ? turn - 1.0 : turn);
  return {static_cast<uint8_t>(hue * 255.0), static_cast<uint8_t>(saturation * 255.0),
          static_cast<uint8_t>(high)};
}

uint8_t rounded(double value) { return static_cast<uint8_t>(value + 0.5); }  // 0..255

void from_hsv(const Hsv& color, uint8_t* rgb) {
  const uint8_t v = color.value;
  if (color.saturation == 0) {
    rgb[0] = rgb[1] = rgb[2] = v;
    return;
  }
  const double sextant = color.hue * 6.0 / 255.0;
  const int i = static_cast<int>(sextant);
  const float f = static_cast<float>(sextant - i);
  const float fs = static_cast<float>(color.saturation / 255.0);
  const uint8_t p = rounded(v * (1.0 - fs));
  const uint8_t q = rounded(v * (1.0 - fs * f));
  const uint8_t t = rounded(v * (1.0 - fs * (1.0 - f)));
  const uint8_t triples[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
  std::copy_n(triples[i % 6], 3, rgb);
}

}  // namespace

void flip_horizontal(Image& image) {
  for (int y = 0; y < image.height; ++y) {
    uint8_t* left = image.bytes.data() + static_cast<size_t>(y) * image.width * 3;
    uint8_t* right = left + (image.width - 1) * 3;
    for (; left < right; left += 3, right -= 3) std::swap_ranges(left, left + 3, right);
  }
}

void adjust_brightness(uint8_t* rgb, size_t pixels, float factor) { blend_with(0, rgb, pixels, factor); }

void adjust_contrast(uint8_t* rgb, size_t pixels, float factor) {
  uint64_t sum = 0;
  for (size_t i = 0; i < pixels; ++i) sum += luma(rgb + 3 * i);
  const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
  blend_with(static_cast<int>(mean + 0.5), rgb, pixels, factor);
}

void adjust_saturation(uint8_t* rgb, size_t pixels, float factor) {
  for (size_t i = 0; i < pixels; ++i, rgb += 3) {
    const int gray = luma(rgb);
    for (int c = 0; c < 3; ++c) rgb[c] = blend(gray, rgb[c], factor);
  }
}

void adjust_hue(uint8_t* rgb, size_t pixels, double factor) {
  const auto shift = static_cast<uint8_t>(static_cast<int>(factor * 255));  // modulo 256
  for (size_t i = 0; i < pixels; ++i, rgb += 3) {
    Hsv color = to_hsv(rgb);
    color.hue = static_cast<uint8_t>(color.hue + shift);
    from_hsv(color, rgb);
  }
}

void to_gray(uint8_t* rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; ++i, rgb += 3) rgb[0] = rgb[1] = rgb[2] = luma(rgb);
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
