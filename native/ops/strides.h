// Loops over operands that are read with strides: broadcasting and changes of layout.
#pragma once

#include <cstdint>

#include "core/shape.h"

namespace native {

class Tensor;

inline constexpr int kMaxDims = 8;

// A loop nest over size[0] x ... x size[ndim - 1] with the step, in elements, of two operands in each
// dimension.
struct StridedLoop {
  int ndim = 0;
  int64_t size[kMaxDims];
  int64_t stride[2][kMaxDims];

  int64_t inner() const { return ndim ? size[ndim - 1] : 1; }
  int64_t rows() const {  // of the dimensions before the innermost
    int64_t count = 1;
    for (int d = 0; d + 1 < ndim; ++d) count *= size[d];
    return count;
  }
  // Offsets of both operands at the start of row `row`.
  void row_offsets(int64_t row, int64_t offset[2]) const {
    offset[0] = offset[1] = 0;
    for (int d = ndim - 2; d >= 0; --d) {
      const int64_t index = row % size[d];
      row /= size[d];
      offset[0] += index * stride[0][d];
      offset[1] += index * stride[1][d];
    }
  }
};

Shape contiguous_strides(const Shape& shape);

// Strides with which x is read as `shape`: 0 along dimensions that x has with size 1 or not at all.
Shape broadcast_strides(const Tensor& x, const Shape& shape);

// The common shape of a and b by NumPy's rule; throws ERR_SHAPE naming op when there is none.
Shape broadcast_shape(const char* op, const Tensor& a, const Tensor& b);

// The loop with dimensions of size 1 dropped and neighbours merged where both operands allow it.
StridedLoop strided_loop(const char* op, const Shape& shape, const Shape& first, const Shape& second);

// 0 <= axis < ndim; negative axes count from the end. Throws ERR_SHAPE.
int64_t normal_axis(const char* op, const Tensor& x, int64_t axis);

}  // namespace native
