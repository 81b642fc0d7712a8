// What happens to a product before it is written: GemmEpilogue in float32, on a vector of neighbouring
// elements with 16-byte accesses, or on one element where addresses or the end of a row do not allow more.
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
// a. For float16, whose rounding is 8 times finer, it is two.
template <class C>
__device__ __forceinline__ float quick_gelu(float u, float& slope) {
  float s;
  if constexpr (std::is_same_v<C, bfloat16>) {
    s = fmaf(0.5f, tanh_approx(0.851f * u), 0.5f);
  } else if constexpr (std::is_same_v<C, float16>) {
    s = reciprocal_approx(1.0f + exp2_approx(-1.702f * 1.44269504f * u));
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

// What an epilogue reads of the matrices of C's shape. A kernel may load it well before the sums are there.
template <int kCount, class C>
struct EpilogueInputs {
  Packed<C, kCount> multiplier, residual;
};

// Where element (row, column) of matrix `batch` lies in C and the matrices of its shape.
template <class C>
__device__ __forceinline__ int64_t element_of(const Epilogue<C>& e, int64_t batch, int row, int column) {
  return batch * e.batch_stride + row * e.pitch + column;
}

// kCount elements from `at` on: one, or as many as make 16 or 32 aligned bytes (e.vectors).
template <int kCount, class C>
__device__ __forceinline__ EpilogueInputs<kCount, C> load_inputs(const Epilogue<C>& e, int64_t at) {
  EpilogueInputs<kCount, C> inputs{};
  if (e.multiplier) inputs.multiplier = load_packed<kCount>(e.multiplier + at);
  if (e.residual) inputs.residual = load_packed<kCount>(e.residual + at);
  return inputs;
}

// The bias of columns column .. column + kCount - 1, as far as there are `columns`; zeros where there is
// none.
template <int kCount, class C>
__device__ __forceinline__ void load_bias(const Epilogue<C>& e, int column, int columns,
                                          float (&bias)[kCount]) {
  load_elements(e.bias + column, e.bias && e.vectors && column + kCount <= columns,
                e.bias ? columns - column : 0, bias);
}

// Applies the epilogue to kCount neighbouring elements of A Bᵀ and writes them.
template <int kCount, class C>
__device__ __forceinline__ void write_result(const Epilogue<C>& e, int64_t at, const float (&bias)[kCount],
                                             const EpilogueInputs<kCount, C>& inputs,
                                             float (&values)[kCount]) {
  float other[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = fmaf(e.alpha, values[i], bias[i]);
  if (e.quick_gelu) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = quick_gelu<C>(values[i], other[i]);
    if (e.slope) store_floats(e.slope + at, other);
  }
  if (e.multiplier) {
    unpack(inputs.multiplier, other);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] *= other[i];
  }
  if (e.residual) {
    unpack(inputs.residual, other);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] += other[i];
  }
  if constexpr (std::is_same_v<C, float>) {
    if (e.accumulate) {
      load_floats(e.c + at, other);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] += other[i];
    }
  }
  store_floats(e.c + at, values);
}

// One element, wherever it lies.
template <class C>
__device__ __forceinline__ void write_element(const Epilogue<C>& e, int64_t batch, int row, int column,
                                              float sum) {
  const int64_t at = element_of(e, batch, row, column);
  const float bias[1] = {e.bias ? e.bias[column] : 0.0f};
  float value[1] = {sum};
  write_result(e, at, bias, load_inputs<1>(e, at), value);
}

}  // namespace native::cuda
