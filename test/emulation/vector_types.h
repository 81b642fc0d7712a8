// The words and small types that CUDA adds to C++, for a host compiler.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
// Read by launch_bound() (bounds.cc).
#define __launch_bounds__(threads, ...) \
  __attribute__((patchable_function_entry((threads) / 32, (threads) / 32)))
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

#define EMULATION_VECTOR(T, name, alignment2, alignment4)            \
  struct alignas(alignment2) name##2 {                               \
    T x, y;                                                          \
  };                                                                 \
  struct name##3 {                                                   \
    T x, y, z;                                                       \
  };                                                                 \
  struct alignas(alignment4) name##4 {                               \
    T x, y, z, w;                                                    \
  };                                                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EMULATION_VECTOR(float, float, 8, 16)
EMULATION_VECTOR(int32_t, int, 8, 16)
EMULATION_VECTOR(uint32_t, uint, 8, 16)
EMULATION_VECTOR(uint16_t, ushort, 4, 8)
EMULATION_VECTOR(uint8_t, uchar, 2, 4)
EMULATION_VECTOR(double, double, 16, 16)
#undef EMULATION_VECTOR

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// Of the thread that runs now; set by the scheduler.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// Functions that CUDA declares outside of namespace std.
using std::max;
using std::min;
