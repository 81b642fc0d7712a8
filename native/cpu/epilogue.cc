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

// One row, in L1 from one loop to the next. `count` is a constant where the compiler shall unroll them.
template <class T>
VECTOR_INLINE void write_row(const float* sums, const float* bias, bool accumulate, bool quick_gelu, T* y,
                             T* slope, const T* factor, const T* residual, int64_t count) {
  float u[kMostColumns];
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

// Without anything else to do rows are too short to be asked about it one by one.
template <class T>
SIMD_CLONES void write_biased_rows(const float* sums, int64_t sums_stride, const float* bias, T* y,
                                   int64_t rows, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row, sums += sums_stride, y += stride) {
#pragma omp simd
    for (int64_t i = 0; i < kMostColumns; ++i) store(y + i, sums[i] + bias[i]);
  }
}

template <class T>
SIMD_CLONES void write_rows(const Sums& sums, const float* bias, const Epilogue& e, T* y,
                            const Region& region) {
  const auto at = [](auto* base, int64_t i) { return base ? base + i : nullptr; };
  auto* const slope = static_cast<T*>(e.slope);
  const auto* const factor = static_cast<const T*>(e.factor);
  const auto* const residual = static_cast<const T*>(e.residual);
  for (int64_t row = 0; row < region.rows; ++row) {
    const int64_t i = region.first + row * region.stride;
    const float* const sum = sums.data + row * sums.stride;
    if (region.columns == kMostColumns) {
      write_row(sum, bias, sums.accumulate, e.quick_gelu, y + i, at(slope, i), at(factor, i), at(residual, i),
                kMostColumns);
    } else {
      write_row(sum, bias, sums.accumulate, e.quick_gelu, y + i, at(slope, i), at(factor, i), at(residual, i),
                region.columns);
    }
  }
}

}  // namespace

void write_sums(const Sums& sums, const Epilogue& e, void* y, DType dtype, const Region& region) {
  constexpr float kNone[kMostColumns] = {};
  const float* const bias = sums.bias ? sums.bias : kNone;
  const bool has_more = e.quick_gelu || e.factor || e.residual || sums.accumulate;
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* const target = static_cast<T*>(y);
    if (!has_more && region.columns == kMostColumns) {
      write_biased_rows(sums.data, sums.stride, bias, target + region.first, region.rows, region.stride);
    } else {
      write_rows(sums, bias, e, target, region);
    }
  });
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
