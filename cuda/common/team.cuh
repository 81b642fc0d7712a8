// Kernels that work on rows: the threads that share a row, and how many rows a block takes.
#pragma once

#include <primitives/launch.h>

#include <primitives/device.cuh>
#include <type_traits>

#include "common/reduce.cuh"
#include "common/vector.cuh"

namespace native::cuda {

inline constexpr int kTeamWarps = 8;  // of a block
inline constexpr int kTeamThreads = kTeamWarps * kWarpSize;

// `warps` warps (1 or all of the block) that work on one row. A team of several warps needs shared memory for
// one value per warp.
template <int warps>
struct Team {
  static_assert(warps == 1 || warps == kTeamWarps, "a team is a warp or a block");
  static constexpr int kThreads = warps * kWarpSize;

  __device__ __forceinline__ static int thread() {
    return warps == 1 ? lane_index() : static_cast<int>(threadIdx.x);
  }
  __device__ __forceinline__ static int64_t row() {
    return warps == 1 ? static_cast<int64_t>(blockIdx.x) * kTeamWarps + warp_index()
                      : static_cast<int64_t>(blockIdx.x);
  }

  // Combines the threads' values in a fixed order; every thread receives the result.
  template <class Op, class T>
  __device__ __forceinline__ static T reduce(Op op, T value) {
    value = warp_reduce(op, value);
    if constexpr (warps > 1) {
      struct Shared {
        T values[kTeamWarps];
      };
      T* values = shared_memory<Shared>().values;
      const int warp = warp_index();
      if (lane_index() == 0) values[warp] = value;
      block_barrier();
      value = values[0];
#pragma unroll
      for (int w = 1; w < warps; ++w) value = op(value, values[w]);
      block_barrier();
    }
    return value;
  }
};

// The launch of teams of `warps` warps for `rows` rows.
inline LaunchShape team_launch(int64_t rows, int warps) {
  return {blocks_for(rows, kTeamWarps / warps), kTeamThreads, warps > 1 ? kTeamWarps * sizeof(double) : 0};
}

// Calls f(warps, width) with compile-time constants for rows of `dim` elements of T: a warp for rows up to
// 2048 elements, which its lanes read again from the first-level cache, else a block; vectors where
// `operands`, rows that follow each other, allow them.
template <class T, class F>
void visit_team(int64_t dim, std::initializer_list<const void*> operands, F&& f) {
  visit_width<T>(dim % kVectorWidth<T> == 0 && aligned(operands), [&](auto width) {
    if (dim <= 2048) {
      f(std::integral_constant<int, 1>{}, width);
    } else {
      f(std::integral_constant<int, kTeamWarps>{}, width);
    }
  });
}

}  // namespace native::cuda
