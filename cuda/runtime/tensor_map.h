// Tensor maps: how the bulk copy engine of sm_90 sees a matrix, or a batch of them.
#pragma once

#include <cstdint>
#include <primitives/hopper.cuh>

#include "core/dtype.h"

namespace native::cuda {

// [matrices, rows, columns] in memory, columns contiguous, and the box [1, box_rows, box_columns] that one
// copy moves.
struct TensorMapShape {
  int64_t columns, rows, matrices;
  int64_t pitch;          // elements from row to row
  int64_t matrix_stride;  // elements from matrix to matrix
  int box_columns, box_rows;
};

// Whether the engine can address such a tensor: `data` on 16 bytes, distances multiples of 16 bytes and less
// than 2^40, matrices a multiple of the rows' distance apart, rows that do not overlap, sizes from 1 and less
// than 2^31.
bool tensor_map_supports(const void* data, DType dtype, const TensorMapShape& shape);

// Shared memory holds the box as rows of box_columns, permuted by `swizzle`; with one, a row is exactly as
// long as the swizzle is wide or shorter. Throws ERR_DEVICE when the driver refuses.
TensorMap encode_tensor_map(const void* data, DType dtype, const TensorMapShape& shape, Swizzle swizzle);

}  // namespace native::cuda
