// What the two directions of layer normalisation share: where rows lie, and how many registers they take.
#pragma once

#include <cstdint>
#include <primitives/device.cuh>
#include <type_traits>

#include "common/strided.cuh"
#include "common/vector.cuh"

namespace native::cuda {

inline constexpr int64_t kMaxColumns = 1024;  // of a row that fits the registers

// Where the rows of the concatenation [x; append] lie: the last of each sequence is the appended one.
template <class T>
struct RowMap {
  T* x;
  T* append;  // null without one
  Divisor extended;
  int64_t dim;

  __device__ __forceinline__ T* row(int64_t index, bool* appended) const {
    *appended = false;
    if (!append) return x + index * dim;
    int64_t position;
    const int64_t sequence = extended.divide(index, &position);
    *appended = position == extended.value() - 1;
    return *appended ? append + sequence * dim : x + (index - sequence) * dim;
  }
};

template <class T>
RowMap<T> row_map(T* x, T* append, int64_t length, int64_t dim) {
  return {x, append, Divisor(length + 1), dim};
}

// Calls f(chunks) for the smallest instantiated row of registers that holds `dim` elements.
template <class T, class F>
void visit_chunks(int64_t dim, F&& f) {
  constexpr int kChunk = kWarpSize * kVectorWidth<T>;  // columns
  if (dim <= 256) return f(std::integral_constant<int, 256 / kChunk>{});
  if (dim <= 512) return f(std::integral_constant<int, 512 / kChunk>{});
  if (dim <= 768) return f(std::integral_constant<int, 768 / kChunk>{});
  f(std::integral_constant<int, 1024 / kChunk>{});
}

}  // namespace native::cuda
