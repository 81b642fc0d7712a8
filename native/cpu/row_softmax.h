// The softmax of attention, over rows of logits that lie in cache.
#pragma once

#include <cstdint>

#include "cpu/tile_product.h"

namespace native {

// Rows of floats, `row` apart and `width` long, a multiple of kTileLanes. Row i sees its first
// min(seen + i * step, most) numbers; what is made of the others is 0.
struct SeenRows {
  int64_t row, rows, width;
  int64_t seen, step, most;  // seen >= 1
};

// x to exp(scale x - the largest of its row).
struct RowSoftmax {
  SeenRows rows;
  float* x;
  float scale;
  float* inverse;  // [rows]: 1 / the sum of a row of the result
  float* log_sum;  // [rows]: log of the sum of exp(scale x)
};

void row_softmax(const RowSoftmax& softmax);

// x to the weights p = exp(scale x - log_sum) of its row, and dp to scale p (dp - sum(p dp)).
struct RowSoftmaxBackward {
  SeenRows rows;
  float *x, *dp;
  float scale;
  const float* log_sum;
};

void row_softmax_backward(const RowSoftmaxBackward& softmax);

}  // namespace native
