#include "cpu/epilogue.h"

#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

template <class T>
VECTOR_INLINE void activate_each(T* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float u = static_cast<float>(y[i]);
    store(y + i, u * vector_quick_gate(u));
  }
}

// With s = sigmoid(1.702 u): a = u s and da/du = s + 1.702 a (1 - s).
template <class T, class Slope>
VECTOR_INLINE void activate_each_with_slope(T* y, Slope* slope, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float u = static_cast<float>(y[i]);
    const float s = vector_quick_gate(u), a = u * s;
    store(y + i, a);
    store(slope + i, s + 1.702f * a * (1.0f - s));
  }
}

template <class T>
SIMD_CLONES void activate(T* y, int64_t count) {
  activate_each(y, count);
}

template <class T>
SIMD_CLONES void activate_with_slope(T* y, T* slope, int64_t count) {
  activate_each_with_slope(y, slope, count);
}

template <class T>
SIMD_CLONES void multiply(const T* x, T* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(y + i, static_cast<float>(x[i]) * static_cast<float>(y[i]));
}

template <class T>
SIMD_CLONES void add(const T* x, T* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(y + i, static_cast<float>(x[i]) + static_cast<float>(y[i]));
}

// A row of a panel, in L1 from one loop to the next. `count` is a constant where the compiler shall unroll
// them.
template <class T>
VECTOR_INLINE void write_row(const float* sums, const float* bias, bool accumulate, bool quick_gelu, T* y,
                             T* slope, const T* factor, const T* residual, int64_t count) {
  float u[kPanelColumns];
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) u[i] = sums[i] + bias[i];
  if (slope) {
    activate_each_with_slope(u, slope, count);
  } else if (quick_gelu) {
    activate_each(u, count);
  }
  if (factor) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) u[i] *= static_cast<float>(factor[i]);
  }
  if (residual) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) u[i] += static_cast<float>(residual[i]);
  }
  if (accumulate) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) u[i] += static_cast<float>(y[i]);
  }
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(y + i, u[i]);
}

template <class T>
SIMD_CLONES void write_rows(const Sums& sums, const Epilogue& e, T* y, const Region& region) {
  constexpr float kNone[kPanelColumns] = {};
  const auto at = [](auto* base, int64_t i) { return base ? base + i : nullptr; };
  auto* const slope = static_cast<T*>(e.slope);
  const auto* const factor = static_cast<const T*>(e.factor);
  const auto* const residual = static_cast<const T*>(e.residual);
  const bool has_more = e.quick_gelu || factor || residual || sums.accumulate;
  for (int64_t row = 0; row < region.rows; ++row) {
    const float* sum = sums.data + row * sums.row;
    for (int64_t column = 0; column < region.columns; column += kPanelColumns, sum += sums.panel) {
      const int64_t i = region.first + row * region.stride + column, left = region.columns - column;
      const float* const bias = sums.bias ? sums.bias + column : kNone;
      if (left < kPanelColumns) {
        write_row(sum, bias, sums.accumulate, e.quick_gelu, y + i, at(slope, i), at(factor, i),
                  at(residual, i), left);
      } else if (has_more) {
        write_row(sum, bias, sums.accumulate, e.quick_gelu, y + i, at(slope, i), at(factor, i),
                  at(residual, i), kPanelColumns);
      } else {
#pragma omp simd
        for (int64_t j = 0; j < kPanelColumns; ++j) store(y + i + j, sum[j] + bias[j]);
      }
    }
  }
}

}  // namespace

void write_sums(const Sums& sums, const Epilogue& e, void* y, DType dtype, const Region& region) {
  visit_float(dtype,
              [&](auto tag) { write_rows(sums, e, static_cast<typename decltype(tag)::type*>(y), region); });
}

void apply_epilogue(const Epilogue& epilogue, void* y, DType dtype, const Region& region) {
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t row = 0; row < region.rows; ++row) {
      const int64_t first = region.first + row * region.stride, count = region.columns;
      T* target = static_cast<T*>(y) + first;
      if (epilogue.slope) {
        activate_with_slope(target, static_cast<T*>(epilogue.slope) + first, count);
      } else if (epilogue.quick_gelu) {
        activate(target, count);
      }
      if (epilogue.factor) multiply(static_cast<const T*>(epilogue.factor) + first, target, count);
      if (epilogue.residual) add(static_cast<const T*>(epilogue.residual) + first, target, count);
    }
  });
}

}  // namespace native
