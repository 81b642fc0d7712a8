// Bilinear resize of 8-bit pictures.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "pixels.h"

namespace native::data {

// What OpenCV's INTER_LINEAR does for bytes, bit for bit: pixel centres aligned, no antialiasing, weights of
// 11 bits. With h = the sum of two neighbours in a row times their weights, and b0, b1 the weights of the two
// rows,
//   result = (((b0 * (h0 >> 4)) >> 16) + ((b1 * (h1 >> 4)) >> 16) + 2) >> 2.
// Tables are kept while the sizes stay the same. Not for two threads at once.
class Resizer {
 public:
  // Resizes `from` to `width` x `height` and writes the part `part` of the result to `to`; no other pixel is
  // computed.
  void resize(const ImageView& from, int width, int height, const Box& part, Image& to);

 private:
  // Neighbours and weights along one direction.
  struct Axis {
    int from = 0, to = 0;
    std::vector<int> first;                       // the left or upper neighbour; may be -1 for rows
    std::vector<std::array<int16_t, 2>> weights;  // in 1/2048
    void prepare(int from_size, int to_size, bool inside);
  };
  const int16_t* blended_row(const ImageView& from, int y, const Box& part);

  Axis x_, y_;
  // Two neighbouring source rows, blended along x and shifted right by 4; row y is kept at y modulo 2.
  std::array<std::vector<int16_t>, 2> rows_;
  std::array<int, 2> row_numbers_{-1, -1};
};

}  // namespace native::data
