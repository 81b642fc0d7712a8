// What follows a matrix product: QuickGELU and the residual, over elements already in memory.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace native {

// y = act(y) factor + residual over `count` elements of `dtype`, act the identity or QuickGELU
// u sigmoid(1.702 u), whose derivative goes to `slope`. Null: no slope, factor or residual. One thread.
struct Epilogue {
  bool quick_gelu;
  void* slope;
  const void* factor;
  const void* residual;
};

// `rows` rows of `columns` elements, `stride` apart, from element `first` on.
struct Region {
  int64_t first, rows, columns, stride;
};

void apply_epilogue(const Epilogue& epilogue, void* y, DType dtype, const Region& region);

}  // namespace native
