#include "cpu/column_sum.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "cpu/simd.h"

namespace native {
namespace {

constexpr int64_t kRowBlock = 64;

template <class T>
SIMD_CLONES void add_row(const T* x, float* sum, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<float>(x[i]);
}

}  // namespace

void column_sum(const void* x, DType dtype, int64_t rows, int64_t columns, float* sum, bool accumulate) {
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
    std::vector<float> partial(static_cast<size_t>(blocks * columns));  // [blocks, columns]
    parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * kRowBlock; row < std::min(end * kRowBlock, rows); ++row) {
        add_row(static_cast<const T*>(x) + row * columns, partial.data() + row / kRowBlock * columns,
                columns);
      }
    });
    if (!accumulate) std::fill(sum, sum + columns, 0.0f);
    for (int64_t block = 0; block < blocks; ++block) add_row(partial.data() + block * columns, sum, columns);
  });
}

}  // namespace native
