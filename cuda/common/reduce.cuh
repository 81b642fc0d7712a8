// Sums and extremes over the lanes of a warp, always combined in the same order, so that a result depends on
// its operands alone. Every lane receives the result.
#pragma once

#include <cstring>
#include <primitives/device.cuh>

namespace native::cuda {

struct Add {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
// Extremes that ignore NaN ...
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
// ... and extremes that are NaN as soon as one operand is.
struct LargestOrNan {
  __device__ __forceinline__ float operator()(float a, float b) const { return b > a || b != b ? b : a; }
};
struct SmallestOrNan {
  __device__ __forceinline__ float operator()(float a, float b) const { return b < a || b != b ? b : a; }
};

__device__ __forceinline__ float exchange(float value, int mask) { return shuffle_xor(value, mask); }
__device__ __forceinline__ double exchange(double value, int mask) {
  uint32_t words[2];
  memcpy(words, &value, 8);
  words[0] = shuffle_xor(words[0], mask);
  words[1] = shuffle_xor(words[1], mask);
  memcpy(&value, words, 8);
  return value;
}

// Over lanes that differ in the bits from `first` up: all lanes for first = 1.
template <class Op, class T>
__device__ __forceinline__ T warp_reduce(Op op, T value, int first = 1) {
  for (int mask = kWarpSize / 2; mask >= first; mask >>= 1) value = op(value, exchange(value, mask));
  return value;
}

}  // namespace native::cuda
