// The softmax of attention, over rows of logits that lie in cache.
#pragma once

#include <cstdint>

#include "cpu/tile_product.h"

namespace native {

// Row i of x, `row` floats apart and `width` long, to exp(scale x - its largest), of which it sees the first
// min(seen + i * step, most); 0 in the others.
struct RowSoftmax {
  float* x;
  int64_t row, rows, width;  // width a multiple of kTileLanes
  int64_t seen, step, most;  // seen >= 1
  float scale;
  float* inverse;  // [rows]: 1 / the sum of a row of the result
  float* log_sum;  // [rows]: log of the sum of exp(scale x)
};

void row_softmax(const RowSoftmax& softmax);

}  // namespace native
