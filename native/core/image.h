// A view of an 8-bit RGB picture.
#pragma once

#include <cstddef>
#include <cstdint>

namespace native {

struct ImageView {
  const uint8_t* data;  // rows of RGB triples
  int width, height;    // pixels
  size_t stride;        // bytes from row to row

  const uint8_t* row(int y) const { return data + static_cast<size_t>(y) * stride; }
};

}  // namespace native
