// What happens to a product before it is written: GemmEpilogue on a few neighbouring elements of one row, in
// float32, with one access of up to 16 bytes per array and 8 elements where the addresses allow.
#pragma once

#include <primitives/device.cuh>
#include <type_traits>

#include "common/vector.cuh"
#include "gemm/gemm.h"

namespace native::cuda {

// GemmEpilogue with C's element type and geometry, as kernels take it.
template <class C>
struct Epilogue {
  C* c;
  C* slope;
  const C* multiplier;
  const C* residual;
  const float* bias;
  int64_t pitch, batch_stride;  // of c, slope, multiplier and residual, in elements
  float alpha;
  bool quick_gelu;
  bool accumulate;
  bool vectors;  // every address at a column that is a multiple of 8 is aligned to 16 bytes
};

template <class C>
Epilogue<C> make_epilogue(const GemmArgs& args) {
  const GemmEpilogue& e = args.epilogue;
  const bool vectors = aligned({args.c, e.slope, e.multiplier, e.residual, e.bias}) &&
                       args.c_pitch % kVectorWidth<C> == 0 && args.c_batch_stride % kVectorWidth<C> == 0;
  return {static_cast<C*>(args.c),
          static_cast<C*>(e.slope),
          static_cast<const C*>(e.multiplier),
          static_cast<const C*>(e.residual),
          e.bias,
          args.c_pitch,
          args.c_batch_stride,
          e.alpha,
          e.quick_gelu,
          e.accumulate,
          vectors};
}

// QuickGELU a = u s with s = sigmoid(1.702 u), and its derivative s + 1.702 a (1 - s). For bfloat16 results
// the sigmoid is one instruction, 0.5 + 0.5 tanh(0.851 u), whose error of 2^-12 disappears in the rounding of
// a.
template <class C>
__device__ __forceinline__ float quick_gelu(float u, float& slope) {
  float s;
  if constexpr (std::is_same_v<C, bfloat16>) {
    s = fmaf(0.5f, tanh_approx(0.851f * u), 0.5f);
  } else {
    s = 1.0f / (1.0f + expf(-1.702f * u));
  }
  const float a = u * s;
  slope = fmaf(1.702f * a, 1.0f - s, s);
  return a;
}

// Reads kCount elements, in vectors when `whole`, else the first `count` of them; the others are 0.
template <int kCount, class T>
__device__ __forceinline__ void load_elements(const T* source, bool whole, int count,
                                              float (&values)[kCount]) {
  if constexpr (kCount * sizeof(T) % 16 == 0) {
    if (whole) return load_floats(source, values);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = i < count ? to_float(source[i]) : 0.0f;
}

// The reverse: writes kCount elements, or the first `count`.
template <int kCount, class T>
__device__ __forceinline__ void store_elements(T* target, bool whole, int count,
                                               const float (&values)[kCount]) {
  if constexpr (kCount * sizeof(T) % 16 == 0) {
    if (whole) return store_floats(target, values);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) target[i] = from_float<T>(values[i]);
  }
}

// Applies the epilogue to elements column .. column + kCount - 1 of one row of A Bᵀ, as far as there are
// `columns` of them, and writes them. `column` is a multiple of kCount, 4 or 8.
template <int kCount, class C>
__device__ __forceinline__ void write_result(const Epilogue<C>& e, int64_t batch, int row, int column,
                                             int columns, float (&values)[kCount]) {
  const int count = columns - column;
  if (count <= 0) return;
  const bool whole = e.vectors && count >= kCount;
  const int64_t at = batch * e.batch_stride + row * e.pitch + column;
  float other[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] *= e.alpha;
  if (e.bias) {
    load_elements(e.bias + column, whole, count, other);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] += other[i];
  }
  if (e.quick_gelu) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = quick_gelu<C>(values[i], other[i]);
    if (e.slope) store_elements(e.slope + at, whole, count, other);
  }
  if (e.multiplier) {
    load_elements(e.multiplier + at, whole, count, other);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] *= other[i];
  }
  if (e.residual) {
    load_elements(e.residual + at, whole, count, other);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] += other[i];
  }
  if constexpr (std::is_same_v<C, float>) {
    if (e.accumulate) {
      load_elements(e.c + at, whole, count, other);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += other[i];
    }
  }
  store_elements(e.c + at, whole, count, values);
}

}  // namespace native::cuda
