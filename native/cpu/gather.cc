// Gather and scatter-add of rows on the CPU. A thread of the scatter owns a range of columns and walks the
// indices in order, so that rows hit more than once are summed in a fixed order.
#include "ops/gather.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "cpu/simd.h"

namespace native {
namespace {

int64_t index_at(const void* index, DType dtype, int64_t i, int64_t rows) {
  const int64_t value =
      dtype == DType::int64 ? static_cast<const int64_t*>(index)[i] : static_cast<const int32_t*>(index)[i];
  CHECK(value >= 0 && value < rows, "ERR_INDEX_RANGE", "index ", i, " is ", value, ", but there are ", rows,
        " rows");
  return value;
}

void gather(const GatherArgs& a) {
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, a.row_bytes));
  parallel_for(a.count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i * a.block_rows + index_at(a.index, a.index_dtype, i, a.rows);
      std::memcpy(static_cast<char*>(a.y) + i * a.row_bytes,
                  static_cast<const char*>(a.table) + row * a.row_bytes, static_cast<size_t>(a.row_bytes));
    }
  });
}

template <class Y, class X>
SIMD_CLONES void add_row(Y* y, const X* x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = Y(static_cast<float>(y[i]) + static_cast<float>(x[i]));
}

void scatter_add(const ScatterAddArgs& a) {
  if (!a.accumulate) {
    const int64_t bytes = a.table_rows * a.dim * static_cast<int64_t>(dtype_size(a.table_dtype));
    parallel_for(bytes, 1 << 20, [&](int64_t begin, int64_t end) {
      std::memset(static_cast<char*>(a.dtable) + begin, 0, static_cast<size_t>(end - begin));
    });
  }
  visit_float(a.table_dtype, [&](auto table_tag) {
    visit_float(a.dtype, [&](auto tag) {
      using Y = typename decltype(table_tag)::type;
      using X = typename decltype(tag)::type;
      const int64_t grain = std::max<int64_t>(64, 65536 / std::max<int64_t>(1, a.count));
      parallel_for(a.dim, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = 0; i < a.count; ++i) {
          const int64_t row = i * a.block_rows + index_at(a.index, a.index_dtype, i, a.rows);
          add_row(static_cast<Y*>(a.dtable) + row * a.dim + begin,
                  static_cast<const X*>(a.dy) + i * a.dim + begin, end - begin);
        }
      });
    });
  });
}

REGISTER_KERNEL(gather, cpu, gather);
REGISTER_KERNEL(scatter_add, cpu, scatter_add);

}  // namespace
}  // namespace native
