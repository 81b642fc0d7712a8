#include "cpu/epilogue.h"

#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

template <class T>
SIMD_CLONES void activate(T* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float u = static_cast<float>(y[i]);
    store(y + i, u * vector_quick_gate(u));
  }
}

// With s = sigmoid(1.702 u): a = u s and da/du = s + 1.702 a (1 - s).
template <class T>
SIMD_CLONES void activate_with_slope(T* y, T* slope, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float u = static_cast<float>(y[i]);
    const float s = vector_quick_gate(u), a = u * s;
    store(y + i, a);
    store(slope + i, s + 1.702f * a * (1.0f - s));
  }
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

}  // namespace

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
