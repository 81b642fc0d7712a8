// Pixel work on 8-bit RGB pictures, byte for byte the arithmetic of Pillow's colour operations.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "../core/image.h"

namespace native::data {

struct Box {
  int x, y, width, height;  // pixels
};

// A packed RGB picture that owns its bytes.
struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> bytes;  // [height, width, 3]

  void reshape(int w, int h) {
    width = w;
    height = h;
    bytes.resize(static_cast<size_t>(w) * static_cast<size_t>(h) * 3);
  }
  ImageView view() const { return {bytes.data(), width, height, static_cast<size_t>(width) * 3}; }
};

// One frame's colour jitter. Factors as in lib/native/video.ts.
struct Jitter {
  std::vector<int> order;  // 0 brightness, 1 contrast, 2 saturation, 3 hue
  float brightness, contrast, saturation;
  double hue;
};

// All of these work in place on `pixels` RGB triples.
void flip_horizontal(Image& image);
void adjust_brightness(uint8_t* rgb, size_t pixels, float factor);
void adjust_contrast(uint8_t* rgb, size_t pixels, float factor);
void adjust_saturation(uint8_t* rgb, size_t pixels, float factor);
void adjust_hue(uint8_t* rgb, size_t pixels, double factor);
void to_gray(uint8_t* rgb, size_t pixels);
void apply(const Jitter& jitter, uint8_t* rgb, size_t pixels);

// RGB triples to three planes of floats, (value - mean) / std per channel, rounded as NumPy and OpenCV round
// it: the difference to float, the product with the double 1 / std to float.
class Normalizer {
 public:
  Normalizer(const std::array<double, 3>& mean, const std::array<double, 3>& std);
  void operator()(const uint8_t* rgb, size_t pixels, float* planes) const;

 private:
  std::array<std::array<float, 256>, 3> tables_;  // a byte has 256 values
};

}  // namespace native::data
