// StridedLoop on the device: which elements of two operands belong to row `row` of a loop nest.
#pragma once

#include <cstdint>
#include <primitives/device.cuh>

#include "ops/strides.h"

namespace native::cuda {

// Division of 0 <= n < 2^63 by a number that the launcher knows, as a multiplication: with s = ceil(log2 d),
// n / d = n ceil(2^(63 + s) / d) / 2^(63 + s) exactly, since the rounding adds less than 2^s / d < 1 in n <
// 2^63 (Granlund and Montgomery, 1994).
class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(int64_t divisor) : divisor_(divisor), magic_(0), shift_(0) {
    int log = 0;
    while (log < 63 && (int64_t{1} << log) < divisor) ++log;
    if (log == 0) return;  // magic 0 stands for 1
    const unsigned __int128 power = static_cast<unsigned __int128>(1) << (63 + log);
    magic_ =
        static_cast<uint64_t>((power + static_cast<uint64_t>(divisor) - 1) / static_cast<uint64_t>(divisor));
    shift_ = log - 1;
  }

  __device__ __forceinline__ int64_t quotient(int64_t n) const {
    const auto product = static_cast<unsigned __int128>(static_cast<uint64_t>(n)) * magic_;
    return magic_ ? static_cast<int64_t>(static_cast<uint64_t>(product >> 64) >> shift_) : n;
  }
  __device__ __forceinline__ int64_t value() const { return divisor_; }
  // n = quotient * divisor + remainder
  __device__ __forceinline__ int64_t divide(int64_t n, int64_t* remainder) const {
    const int64_t result = quotient(n);
    *remainder = n - result * divisor_;
    return result;
  }

 private:
  int64_t divisor_;
  uint64_t magic_;
  int shift_;
};

// The dimensions of a loop before its innermost. Passed to kernels by value.
struct StridedRows {
  int count;  // dimensions
  Divisor size[kMaxDims];
  int64_t stride[2][kMaxDims];

  StridedRows() : count(0) {}
  explicit StridedRows(const StridedLoop& loop) : count(loop.ndim ? loop.ndim - 1 : 0) {
    for (int d = 0; d < count; ++d) {
      size[d] = Divisor(loop.size[d]);
      for (int k = 0; k < 2; ++k) stride[k][d] = loop.stride[k][d];
    }
  }

  // Element offsets of both operands at the start of row `row`.
  __device__ __forceinline__ void offsets(int64_t row, int64_t* first, int64_t* second) const {
    *first = *second = 0;
    for (int d = count - 1; d >= 0; --d) {
      int64_t index = row;
      if (d > 0) row = size[d].divide(row, &index);  // what is left is the index of dimension 0
      *first += index * stride[0][d];
      *second += index * stride[1][d];
    }
  }
};

}  // namespace native::cuda
