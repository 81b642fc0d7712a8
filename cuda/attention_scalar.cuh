// What the scalar attention kernels share: tiles of float32 rows in shared memory and products of them. A
// block has 256 threads, seen as 16 x 16; thread (y, x) computes entries of rows near y and columns near x.
#pragma once

#include <cmath>
#include <primitives/device.cuh>

#include "attention.h"
#include "common/vector.cuh"

namespace native::cuda::attention {

inline constexpr int kScalarThreads = 256, kScalarSide = 16;
inline constexpr int kScalarColumns = 64;  // of a tile: dimensions of a head, or keys
// Four floats more than the columns: rows 4 banks apart, so that eight lanes which read 16 bytes of eight
// consecutive rows meet no bank twice.
inline constexpr int kScalarStride = kScalarColumns + 4;

template <int kRows>
struct alignas(16) ScalarTile {
  float rows[kRows][kScalarStride];

  __device__ __forceinline__ float4 four(int row, int column) const {
    return *reinterpret_cast<const float4*>(&rows[row][column]);
  }
};

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x) % kScalarSide; }
__device__ __forceinline__ int thread_y() { return static_cast<int>(threadIdx.x) / kScalarSide; }

// Sum over the 16 lanes that share y, in the same order in every lane.
__device__ __forceinline__ float sum_row(float value) {
#pragma unroll
  for (int mask = kScalarSide / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
__device__ __forceinline__ float max_row(float value) {
#pragma unroll
  for (int mask = kScalarSide / 2; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

// Four elements from `source`; `vectors` says that groups of four lie on their own size.
__device__ __forceinline__ float4 load_four(const float* source, bool vectors) {
  if (vectors) return *reinterpret_cast<const float4*>(source);
  return {source[0], source[1], source[2], source[3]};
}
template <class T>
__device__ __forceinline__ float4 load_four(const T* source, bool vectors) {
  if (!vectors) {
    return {to_float(source[0]), to_float(source[1]), to_float(source[2]), to_float(source[3])};
  }
  const uint2 words = *reinterpret_cast<const uint2*>(source);
  const float2 low = unpack2<T>(words.x), high = unpack2<T>(words.y);
  return {low.x, low.y, high.x, high.y};
}

// Rows of an operand: row i starts at `data + i * stride`, `count` rows of `columns` elements exist.
template <class T>
struct ScalarRows {
  const T* data;
  int stride, count, columns;
  bool vectors;
};

// Fills the tile with rows first .. first + kRows - 1, columns column .. column + 63; zero where there are
// none.
template <class T, int kRows>
__device__ __forceinline__ void load_tile(ScalarTile<kRows>& tile, const ScalarRows<T>& source, int first,
                                          int column) {
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kScalarSide; i += kScalarThreads) {
    const int row = i / kScalarSide, c = i % kScalarSide * 4, left = source.columns - column - c;
    float4 value = {0, 0, 0, 0};
    if (first + row < source.count && left > 0) {
      const T* from = source.data + static_cast<int64_t>(first + row) * source.stride + column + c;
      if (left >= 4) {
        value = load_four(from, source.vectors);
      } else {
        value.x = to_float(from[0]);
        if (left > 1) value.y = to_float(from[1]);
        if (left > 2) value.z = to_float(from[2]);
      }
    }
    *reinterpret_cast<float4*>(&tile.rows[row][c]) = value;
  }
}

__device__ __forceinline__ float dot_four(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}
__device__ __forceinline__ void add_scaled(float scale, float4 x, float (&sum)[4]) {
  sum[0] = fmaf(scale, x.x, sum[0]);
  sum[1] = fmaf(scale, x.y, sum[1]);
  sum[2] = fmaf(scale, x.z, sum[2]);
  sum[3] = fmaf(scale, x.w, sum[3]);
}

// sum[i][j] += row (kPer y + i) of a . row (x + 16 j) of b.
template <int kPer, int kRows>
__device__ __forceinline__ void add_dots(const ScalarTile<kRows>& a, const ScalarTile<64>& b,
                                         float (&sum)[kPer][4]) {
  static_assert(kPer * kScalarSide == kRows);
#pragma unroll 1
  for (int d = 0; d < kScalarColumns; d += 4) {
    float4 right[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) right[j] = b.four(thread_x() + kScalarSide * j, d);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const float4 left = a.four(thread_y() * kPer + i, d);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i][j] = dot_four(left, right[j], sum[i][j]);
    }
  }
}

// sum[i][c] += row (kPer y + i) of a . column (4 x + c) of b.
template <int kPer, int kRows>
__device__ __forceinline__ void add_product(const ScalarTile<kRows>& a, const ScalarTile<64>& b,
                                            float (&sum)[kPer][4]) {
#pragma unroll 2
  for (int k = 0; k < kScalarColumns; k += 4) {
    float4 right[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) right[e] = b.four(k + e, thread_x() * 4);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const float4 left = a.four(thread_y() * kPer + i, k);
      add_scaled(left.x, right[0], sum[i]);
      add_scaled(left.y, right[1], sum[i]);
      add_scaled(left.z, right[2], sum[i]);
      add_scaled(left.w, right[3], sum[i]);
    }
  }
}

// sum[i][c] += column (4 y + i) of a . column (4 x + c) of b.
template <int kRows>
__device__ __forceinline__ void add_transposed_product(const ScalarTile<kRows>& a, const ScalarTile<kRows>& b,
                                                       float (&sum)[4][4]) {
#pragma unroll 2
  for (int k = 0; k < kRows; ++k) {
    const float4 left = a.four(k, thread_y() * 4), right = b.four(k, thread_x() * 4);
    add_scaled(left.x, right, sum[0]);
    add_scaled(left.y, right, sum[1]);
    add_scaled(left.z, right, sum[2]);
    add_scaled(left.w, right, sum[3]);
  }
}

// Writes the four columns 4 x .. of a chunk that starts at `column`, as far as they exist.
template <class T>
__device__ __forceinline__ void store_columns(T* row, int column, int columns, const float (&values)[4],
                                              float scale) {
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const int at = column + thread_x() * 4 + c;
    if (at < columns) row[at] = from_float<T>(values[c] * scale);
  }
}

// Whether four elements at a time of every row of q, k and v lie on their own size.
inline bool rows_in_fours(const AttentionArgs& a) {
  for (const int64_t size : {a.head_size, a.q_batch, a.q_row, a.kv_batch, a.kv_row}) {
    if (size % 4 != 0) return false;
  }
  return aligned({a.q, a.k, a.v});
}
inline float logit_scale(const AttentionArgs& a) { return 1.0f / std::sqrt(static_cast<float>(a.head_size)); }
}  // namespace native::cuda::attention
