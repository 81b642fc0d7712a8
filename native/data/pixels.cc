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

// Pillow's 8-bit HSV; single and double precision stand where its C code has them. Without branches that
// depend on the picture: gray falls out as hue 0, saturation 0.
Hsv to_hsv(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int high = std::max(r, std::max(g, b)), low = std::min(r, std::min(g, b));
  const bool red = r == high, green = !red && g == high;
  const double base = red ? 0 : green ? 2 : 4;
  const int plus = high - (red ? b : green ? r : g), minus = high - (red ? g : green ? b : r);
  const float range = static_cast<float>(std::max(high - low, 1));
  const float up = static_cast<float>(plus) / range, down = static_cast<float>(minus) / range;
  const float sextants = static_cast<float>(base + up - down);  // -1..5
  const double turn = sextants / 6.0 + 1.0;  // 0.8..1.9, so one comparison gives its fraction
  const float hue = static_cast<float>(turn >= 1.0 ? turn - 1.0 : turn);
  const float saturation = static_cast<float>(high - low) / static_cast<float>(std::max(high, 1));
  return {static_cast<uint8_t>(static_cast<int>(hue * 255.0)),
          static_cast<uint8_t>(static_cast<int>(saturation * 255.0)), static_cast<uint8_t>(high)};
}

// What depends on one byte of hue or saturation alone.
struct HsvTables {
  std::array<uint8_t, 256> sextant;   // of the hue, 0..5
  std::array<float, 256> fraction;    // of the hue within it
  std::array<float, 256> saturation;  // 0..1

  HsvTables() {
    for (size_t i = 0; i < 256; ++i) {
      const double position = static_cast<double>(i) * 6.0 / 255.0;
      const int whole = static_cast<int>(position);
      sextant[i] = static_cast<uint8_t>(whole % 6);
      fraction[i] = static_cast<float>(position - whole);
      saturation[i] = static_cast<float>(static_cast<double>(i) / 255.0);
    }
  }
};

uint8_t rounded(double value) { return static_cast<uint8_t>(static_cast<int>(value + 0.5)); }  // 0..255

void from_hsv(const Hsv& color, const HsvTables& tables, uint8_t* rgb) {
  // Which of v, p, q, t is red, green and blue in each sextant. Without saturation all four are v.
  static constexpr uint8_t kPlaces[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3}, {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
  const uint8_t v = color.value;
  const float f = tables.fraction[color.hue], fs = tables.saturation[color.saturation];
  const uint8_t levels[4] = {v, rounded(v * (1.0 - fs)), rounded(v * (1.0 - fs * f)),
                             rounded(v * (1.0 - fs * (1.0 - f)))};
  const uint8_t* places = kPlaces[tables.sextant[color.hue]];
  for (int c = 0; c < 3; ++c) rgb[c] = levels[places[c]];
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
  static const HsvTables tables;
  for (size_t i = 0; i < pixels; ++i, rgb += 3) {
    Hsv color = to_hsv(rgb);
    color.hue = static_cast<uint8_t>(color.hue + shift);
    from_hsv(color, tables, rgb);
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
