// Rows picked by integer indices, from one table (embedding) or from a block per index (gather_rows).
#pragma once

#include <optional>

#include "core/kernel.h"

namespace native {

struct GatherArgs {
  const void* table;    // [V, D], or [N, L, D]
  const void* index;    // [count]
  void* y;              // [count, D]
  int64_t count, rows;  // rows: V or L, the bound of the indices
  int64_t row_bytes;    // of D elements
  int64_t block_rows;   // 0, or L: index n picks from block n
  DType index_dtype;    // int32 or int64
};

struct ScatterAddArgs {
  const void* dy;  // [count, D]
  const void* index;
  void* dtable;  // [V, D] or [N, L, D]
  int64_t count, rows, dim, block_rows;
  int64_t table_rows;  // V or N L
  bool accumulate;     // add to what dtable holds instead of starting from zero
  DType dtype, table_dtype, index_dtype;
};

DECLARE_KERNEL(gather, GatherArgs);
DECLARE_KERNEL(scatter_add, ScatterAddArgs);

// ids [...] of int32 or int64, table [V, D] of any dtype: [..., D]. An id outside 0 .. V - 1 fails with
// ERR_INDEX_RANGE when the kernel runs.
Tensor embedding_forward(const Tensor& ids, const Tensor& table);

// The gradient of a table of a floating type, float32 [V, D]; added to `into` (which is returned) when
// given. Rows are added in the order of the ids.
Tensor embedding_backward(const Tensor& dy, const Tensor& ids, int64_t table_rows,
                          const std::optional<Tensor>& into);

// x [N, L, D], index [N]: row index[n] of x[n], [N, D].
Tensor gather_rows_forward(const Tensor& x, const Tensor& index);

// dy [N, D]: zeros [N, L, D] with dy[n] at row index[n].
Tensor gather_rows_backward(const Tensor& dy, const Tensor& index, int64_t length);

}  // namespace native
