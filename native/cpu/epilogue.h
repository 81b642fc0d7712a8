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

// Sums of products beside y, in panels of kPanelColumns columns: where rows of a panel and where panels begin
// after each other. They are added to bias [columns] or null, and to y if they are to accumulate.
constexpr int64_t kPanelColumns = 32;
struct Sums {
  const float* data;
  int64_t row, panel;
  const float* bias;
  bool accumulate;
};

// y (+)= act(sums + bias) factor + residual, rounded once. One thread.
void write_sums(const Sums& sums, const Epilogue& epilogue, void* y, DType dtype, const Region& region);

}  // namespace native
