// Buffers in shared memory that are filled and emptied in turn.
#pragma once

#include <primitives/device.cuh>

namespace native::cuda {

// A place in a ring of kCount buffers; phase is the parity of the pass through it.
template <int kCount>
struct Ring {
  int index = 0;
  uint32_t phase = 0;
  // By a divisor of kCount.
  __device__ __forceinline__ void advance(int by = 1) {
    index += by;
    if (index == kCount) {
      index = 0;
      phase ^= 1;
    }
  }
  __device__ __forceinline__ void skip(int count) {
    const int end = index + count;
    phase ^= (end / kCount) & 1;
    index = end % kCount;
  }
};

}  // namespace native::cuda
