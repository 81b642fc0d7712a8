// How the matrix products divide rows, columns and depth among threads and caches, and the memory they copy
// blocks to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "core/error.h"

namespace native {

inline int64_t pieces(int64_t total, int64_t size) { return (total + size - 1) / size; }

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Share i of `count` shares of 0 .. total - 1, as even as steps of `step` allow.
inline Range share(int64_t total, int64_t step, int64_t i, int64_t count) {
  const int64_t steps = pieces(total, step);
  return {std::min(total, steps * i / count * step), std::min(total, steps * (i + 1) / count * step)};
}

struct Free {
  void operator()(void* data) const { std::free(data); }
};
template <class T>
using Buffer = std::unique_ptr<T, Free>;

// `count` numbers from the beginning of a page on, which are not set. Throws ERR_OUT_OF_MEMORY.
template <class T>
Buffer<T> new_buffer(int64_t count) {
  constexpr int64_t kPage = 4096;
  const auto bytes = static_cast<size_t>(pieces(count * static_cast<int64_t>(sizeof(T)), kPage) * kPage);
  auto* data = static_cast<T*>(std::aligned_alloc(kPage, bytes));
  CHECK(data, "ERR_OUT_OF_MEMORY", "matrix product: no memory for a block of ", count, " numbers");
  return Buffer<T>(data);
}

}  // namespace native
