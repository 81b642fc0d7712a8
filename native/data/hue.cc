// Turns hues as Pillow does: RGB to 8-bit HSV, the hue plus a shift modulo 256, and back. Pillow computes in
// a mixture of float and double; float is enough for the same bytes wherever it stands here (compared for
// every colour), and one value per lane and no branches let the compiler vectorise the loop.
#include <algorithm>

#include "../core/simd.h"
#include "pixels.h"

namespace native::data {
namespace {

constexpr size_t kBlock = 256;  // pixels that are taken apart into planes at a time

inline int mask(bool condition) { return -static_cast<int>(condition); }
inline int rounded(float value) { return static_cast<int>(value + 0.5f); }  // 0..255

SIMD_CLONES void turn(uint8_t* rgb, size_t pixels, int shift) {
  uint8_t red[kBlock], green[kBlock], blue[kBlock];
  for (size_t i = 0; i < pixels; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
  for (size_t i = 0; i < pixels; ++i) {
    const int r = red[i], g = green[i], b = blue[i];
    const int high = std::max(r, std::max(g, b)), low = std::min(r, std::min(g, b));
    const int middle = r + g + b - high - low;
    const int is_red = mask(r == high), is_green = mask(g == high) & ~is_red, is_blue = ~(is_red | is_green);
    const int next = (is_red & b) | (is_green & r) | (is_blue & g);  // the channel before the highest one

    // The hue in sextants, -1..5: an even number and a part towards the next or the previous one.
    const float part = static_cast<float>(high - middle) / static_cast<float>(std::max(high - low, 1));
    const int falling = mask(next == low);
    const int whole = (is_green & 2) + (is_blue & 4) - 1 - 2 * falling;
    const float sextants = falling != 0 ? static_cast<float>(whole) - part : static_cast<float>(whole) + part;
    const double turns = sextants * (1.0 / 6.0) + 1.0;  // 0.8..1.9
    const float hue = static_cast<float>(turns - static_cast<int>(turns));
    const int h = (static_cast<int>(hue * 255.0f) + shift) & 255;
    const float saturation = static_cast<float>(high - low) / static_cast<float>(std::max(high, 1));
    const int s = static_cast<int>(saturation * 255.0f);

    // Back: the highest channel stays, the lowest is p, the one between rises or falls within the sextant.
    const int position = 6 * h, sextant = (position + 1 + (position >> 8)) >> 8;  // position / 255: 0..6
    const float fraction = static_cast<float>(position - 255 * sextant) / 255.0f, rest = 1.0f - fraction;
    const float fs = static_cast<float>(s) / 255.0f, v = static_cast<float>(high);
    const float away = fs * ((sextant & 1) != 0 ? fraction : rest);
    const int p = rounded(v * (1.0f - fs)), m = rounded(v * (1.0f - away));
    const int s0 = mask(sextant == 0) | mask(sextant == 6), s1 = mask(sextant == 1), s2 = mask(sextant == 2);
    const int s3 = mask(sextant == 3), s4 = mask(sextant == 4), s5 = mask(sextant == 5);
    red[i] = static_cast<uint8_t>(((s0 | s5) & high) | ((s1 | s4) & m) | ((s2 | s3) & p));
    green[i] = static_cast<uint8_t>(((s1 | s2) & high) | ((s0 | s3) & m) | ((s4 | s5) & p));
    blue[i] = static_cast<uint8_t>(((s3 | s4) & high) | ((s2 | s5) & m) | ((s0 | s1) & p));
  }
  for (size_t i = 0; i < pixels; ++i) {
    rgb[3 * i] = red[i];
    rgb[3 * i + 1] = green[i];
    rgb[3 * i + 2] = blue[i];
  }
}

}  // namespace

void adjust_hue(uint8_t* rgb, size_t pixels, double factor) {
  const int shift = static_cast<uint8_t>(static_cast<int>(factor * 255));  // modulo 256
  for (size_t start = 0; start < pixels; start += kBlock)
    turn(rgb + 3 * start, std::min(kBlock, pixels - start), shift);
}

}  // namespace native::data
