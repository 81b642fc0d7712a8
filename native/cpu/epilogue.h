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

void apply_epilogue(const Epilogue& epilogue, void* y, DType dtype, int64_t first, int64_t count);

}  // namespace native
