// What follows a matrix product: bias, QuickGELU and the residual.
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

// Sums of products beside y, in rows `stride` apart, and what they are added to: bias [columns] or null, and
// y if they are to accumulate.
struct Sums {
  const float* data;
  int64_t stride;
  const float* bias;
  bool accumulate;
};

// y (+)= act(sums + bias) factor + residual, rounded once, in kMostColumns columns or fewer. One thread.
constexpr int64_t kMostColumns = 32;
void write_sums(const Sums& sums, const Epilogue& epilogue, void* y, DType dtype, const Region& region);

}  // namespace native
