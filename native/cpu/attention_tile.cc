#include "cpu/attention_tile.h"

#include <array>
#include <memory>

#include "cpu/lanes.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

template <class T>
SIMD_CLONES void pack(const T* x, int64_t stride, int64_t count, int64_t size, int64_t width, float* rows) {
  for (int64_t i = 0; i < count; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < size; ++j) rows[i * width + j] = static_cast<float>(x[i * stride + j]);
    for (int64_t j = size; j < width; ++j) rows[i * width + j] = 0;
  }
}

template <class T>
SIMD_CLONES void unpack(const float* rows, int64_t count, int64_t size, int64_t width, T* x, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < size; ++j) store(x + i * stride + j, rows[i * width + j]);
  }
}

}  // namespace

FloatRows rows_of(const void* x, DType dtype, int64_t stride, int64_t count, int64_t size, float* buffer) {
  if (is_tile(dtype, size)) return {static_cast<const float*>(x), stride};
  const int64_t width = pad_to_lanes(size);
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    pack(static_cast<const T*>(x), stride, count, size, width, buffer);
  });
  return {buffer, width};
}

void unpack_rows(const float* rows, int64_t count, int64_t size, void* x, DType dtype, int64_t stride) {
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    unpack(rows, count, size, pad_to_lanes(size), static_cast<T*>(x), stride);
  });
}

void transpose_rows(const FloatRows& rows, int64_t count, int64_t width, float* columns) {
  static_assert(kTileLanes % 4 == 0);
  const int64_t padded = pad_to_lanes(count);
  int64_t i = 0;
  for (; i < count; i += 4) {
    const float* row[4];
    for (int64_t k = 0; k < 4; ++k) row[k] = rows.x + std::min(i + k, count - 1) * rows.stride;
    for (int64_t j = 0; j < width; j += 4) transpose_four(row, j, columns + j * padded + i, padded);
  }
  for (int64_t j = 0; j < width; ++j) std::fill(columns + j * padded + i, columns + (j + 1) * padded, 0.0f);
}

void RowFetcher::advance() {
  const int64_t part = part_++;
  constexpr int64_t kLine = 64, kIntoL2 = 2;
  for (size_t i = 0; i < used_; ++i) {
    const Rows& rows = rows_[i];
    const int64_t end = rows.count * (part + 1) / parts_;
    for (int64_t row = rows.count * part / parts_; row < end; ++row) {
      const char* x = rows.x + row * rows.stride;
      for (int64_t at = 0; at < bytes_; at += kLine) {
        rows.write ? __builtin_prefetch(x + at, 1, kIntoL2) : __builtin_prefetch(x + at, 0, kIntoL2);
      }
    }
  }
}

float* tile_buffer(int slot, int64_t count) {
  constexpr size_t kLine = 64;
  thread_local std::array<std::vector<float>, 10> buffers;
  std::vector<float>& buffer = buffers.at(static_cast<size_t>(slot));
  const size_t size = static_cast<size_t>(count) + kLine / sizeof(float);
  if (buffer.size() < size) buffer.resize(size);
  const auto address = reinterpret_cast<uintptr_t>(buffer.data());
  return reinterpret_cast<float*>((address + kLine - 1) / kLine * kLine);
}

}  // namespace native
