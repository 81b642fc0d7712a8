// Reductions on the CPU. Rows (inner = 1) are reduced by vector lanes in blocks, columns (inner > 1) by
// adding up blocks of rows; the partial results of the blocks are combined in order, in float64.
#include "ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"

namespace native {
namespace {

constexpr int64_t kRowBlock = 64;  // rows added up in float32

SIMD_CLONES float reduce_run(ReduceOp op, const float* x, int64_t count) {
  if (op == ReduceOp::sum) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]);
    return static_cast<float>(sum);
  }
  float extreme = x[0];
  bool nan = false;
  if (op == ReduceOp::max) {
#pragma omp simd reduction(max : extreme) reduction(| : nan)
    for (int64_t i = 0; i < count; ++i) {
      extreme = x[i] > extreme ? x[i] : extreme;
      nan |= x[i] != x[i];
    }
  } else {
#pragma omp simd reduction(min : extreme) reduction(| : nan)
    for (int64_t i = 0; i < count; ++i) {
      extreme = x[i] < extreme ? x[i] : extreme;
      nan |= x[i] != x[i];
    }
  }
  return nan ? std::numeric_limits<float>::quiet_NaN() : extreme;
}

// y[i] = op(y[i], x[i])
SIMD_CLONES void combine(ReduceOp op, const float* x, float* y, int64_t count) {
  if (op == ReduceOp::sum) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] += x[i];
  } else if (op == ReduceOp::max) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] > y[i] || x[i] != x[i] ? x[i] : y[i];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] < y[i] || x[i] != x[i] ? x[i] : y[i];
  }
}

float combine_partials(ReduceOp op, const float* partial, int64_t count, int64_t step) {
  if (op == ReduceOp::sum) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += partial[i * step];
    return static_cast<float>(sum);
  }
  float value = partial[0];
  for (int64_t i = 1; i < count; ++i) combine(op, partial + i * step, &value, 1);
  return value;
}

void write_one(const ReduceArgs& a, int64_t index, float value) {
  const float scaled = a.op == ReduceOp::sum ? value * a.scale : value;
  if (a.y_dtype == DType::float32) {
    static_cast<float*>(a.y)[index] = scaled;
  } else {
    static_cast<bfloat16*>(a.y)[index] = bfloat16(scaled);
  }
}

void reduce_rows(const ReduceArgs& a) {
  const int64_t blocks = std::max<int64_t>(1, (a.length + kFloatBlock - 1) / kFloatBlock);
  std::vector<float> partial(static_cast<size_t>(a.outer * blocks));
  parallel_for(
      a.outer * blocks, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, std::min(a.length, kFloatBlock))),
      [&](int64_t begin, int64_t end) {
        float buffer[kFloatBlock];
        for (int64_t item = begin; item < end; ++item) {
          const int64_t row = item / blocks, first = item % blocks * kFloatBlock;
          const int64_t count = std::min(kFloatBlock, a.length - first);
          partial[item] =
              count ? reduce_run(a.op, read_floats(a.x, a.x_dtype, row * a.length + first, count, buffer),
                                 count)
                    : 0.0f;
        }
      });
  for (int64_t row = 0; row < a.outer; ++row)
    write_one(a, row, combine_partials(a.op, &partial[row * blocks], blocks, 1));
}

void reduce_columns(const ReduceArgs& a) {
  const int64_t row_blocks = std::max<int64_t>(1, (a.length + kRowBlock - 1) / kRowBlock);
  const int64_t column_blocks = (a.inner + kFloatBlock - 1) / kFloatBlock;
  std::vector<float> partial(
      static_cast<size_t>(a.outer * row_blocks * a.inner));  // [outer, row_blocks, inner]
  const int64_t work = std::min(a.length, kRowBlock) * std::min(a.inner, kFloatBlock);
  parallel_for(a.outer * row_blocks * column_blocks, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work)),
               [&](int64_t begin, int64_t end) {
                 float buffer[kFloatBlock];
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t column = item % column_blocks * kFloatBlock, group = item / column_blocks;
                   const int64_t outer = group / row_blocks, first = group % row_blocks * kRowBlock;
                   const int64_t count = std::min(kFloatBlock, a.inner - column);
                   float* sums = &partial[group * a.inner + column];
                   for (int64_t row = first; row < std::min(first + kRowBlock, a.length); ++row) {
                     const int64_t offset = (outer * a.length + row) * a.inner + column;
                     const float* x = read_floats(a.x, a.x_dtype, offset, count, buffer);
                     if (row == first) {
                       std::copy(x, x + count, sums);
                     } else {
                       combine(a.op, x, sums, count);
                     }
                   }
                 }
               });
  parallel_for(a.outer * a.inner, std::max<int64_t>(1, 16384 / row_blocks), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* first = &partial[i / a.inner * row_blocks * a.inner + i % a.inner];
      write_one(a, i, combine_partials(a.op, first, row_blocks, a.inner));
    }
  });
}

void reduce_any(const ReduceArgs& a) {
  if (a.outer * a.inner == 0) return;
  if (a.inner == 1) {
    reduce_rows(a);
  } else {
    reduce_columns(a);
  }
}

void find_largest(const ArgmaxArgs& a) {
  visit_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(a.outer * a.inner, std::max<int64_t>(1, 16384 / a.length), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* x = static_cast<const T*>(a.x) + i / a.inner * a.length * a.inner + i % a.inner;
        int64_t best = 0;
        for (int64_t j = 1; j < a.length; ++j) {
          const float value = x[j * a.inner], largest = x[best * a.inner];
          if (value > largest || (std::isnan(value) && !std::isnan(largest))) best = j;
        }
        a.y[i] = static_cast<int32_t>(best);
      }
    });
  });
}

REGISTER_KERNEL(reduce, cpu, reduce_any);
REGISTER_KERNEL(argmax, cpu, find_largest);

}  // namespace
}  // namespace native
