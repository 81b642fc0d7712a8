// One operand of the tensor-core product of sm_80: its steps come from global to shared memory in the
// background, 16 bytes at a time, and from there into the registers of the products. Both majors, without a
// transposition in memory: ldmatrix reads rows of k, or turns columns round. It turns 16-bit elements only,
// so lanes read columns of float32 one by one.
//
// A step of an operand, kExtent of its own index by kDepth of k, lies in shared memory in rows as it does in
// global memory: by k, rows of kDepth elements (64 or 128 bytes); by its own index, panels of 64 (float32:
// 32) of it, in which every k has a row of 128 bytes. The chunks of a row are swizzled, so that ldmatrix's
// eight rows, or a warp's 8 x 4 single elements, never share a bank.
#pragma once

#include <primitives/tensor_core.cuh>

#include "common/swizzle.cuh"
#include "gemm/tiled_gemm.cuh"

namespace native::cuda {

template <class T, Major kMajor, int kExtent, int kDepth>
struct OperandLayout {
  static constexpr int kSize = sizeof(T), kPanel = 128 / kSize;
  static constexpr int kBytes = kSize * kExtent * kDepth;
  static constexpr int kRowBytes = kMajor == Major::k ? kSize * kDepth : 128;
  static_assert(kExtent % 64 == 0 && (kSize * kDepth == 64 || kSize * kDepth == 128),
                "whole panels, rows of one swizzle span");

  // The byte at which element (mn, k) lies.
  static __device__ __forceinline__ int offset(int mn, int k) {
    if constexpr (kMajor == Major::k) return swizzle<kRowBytes>(mn * kRowBytes + kSize * k);
    const int panel = mn / kPanel * (kDepth * 128), within = k * 128 + mn % kPanel * kSize;
    if constexpr (kSize == 2) return panel + swizzle<128>(within);
    return panel + (within ^ k % 4 * 32);  // four k lie 8 elements apart
  }
};

// Copies the steps of a block's rows (A) or columns (B). All threads of the block together.
template <class T, Major kMajor, int kExtent, int kDepth, int kThreads>
class OperandLoader {
  using Layout = OperandLayout<T, kMajor, kExtent, kDepth>;
  static constexpr bool kByK = kMajor == Major::k;
  static constexpr int kSize = sizeof(T), kPerChunk = 16 / kSize;
  static constexpr int kChunks = (kByK ? kDepth : kExtent) / kPerChunk;  // in a row of global memory
  static constexpr int kRowStep = kThreads / kChunks, kRows = kByK ? kExtent : kDepth;
  static constexpr int kCopies = kRows / kRowStep;
  static_assert(kThreads % kChunks == 0 && kRows % kRowStep == 0 &&
                    kRowStep % (kByK || kSize == 2 ? 8 : 4) == 0,
                "same swizzle in all copies");

 public:
  // Starts at element `first` of `extent` of matrix `batch`, at k = `depth`.
  __device__ __forceinline__ OperandLoader(const TiledOperand<T>& operand, int64_t batch, int first,
                                           int extent, int depth) {
    const int thread = static_cast<int>(threadIdx.x), row = thread / kChunks,
              chunk = thread % kChunks * kPerChunk;
    row_ = row;
    chunk_ = chunk;
    left_ = extent - first - (kByK ? row : chunk);
    target_ = kByK ? Layout::offset(row, chunk) : Layout::offset(chunk, row);
    row_step_ = kSize * kRowStep * operand.pitch;
    const int64_t mn = first + (kByK ? row : chunk), k = depth + (kByK ? chunk : row);
    source_ =
        reinterpret_cast<const unsigned char*>(operand.data + batch * operand.batch_stride +
                                               (kByK ? mn * operand.pitch + k : k * operand.pitch + mn));
  }

  // Issues the copies of the next step, which has `k_left` of k, into `stage`. Elements outside are zeros.
  __device__ __forceinline__ void load(unsigned char* stage, int k_left) {
    const int along =
        kByK ? k_left - chunk_ : left_;  // elements from the chunk's first to the end of its row
    const int bytes = along >= kPerChunk ? 16 : along > 0 ? kSize * along : 0;
    const int across = kByK ? left_ : k_left - row_;  // rows from the thread's first to the last
    const unsigned char* source = source_;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      copy_async_16(stage + target_ + i * kRowStep * Layout::kRowBytes, source,
                    i * kRowStep < across ? bytes : 0);
      source += row_step_;
    }
    source_ = kByK ? source_ + kSize * kDepth : source;
  }

  // From the end of one matrix to the start of the next.
  __device__ __forceinline__ void next_matrix(const TiledOperand<T>& operand, int steps_per_matrix) {
    const int64_t walked = static_cast<int64_t>(steps_per_matrix) * kDepth;
    source_ += kSize * (operand.batch_stride - (kByK ? walked : walked * operand.pitch));
  }

 private:
  const unsigned char* source_;
  int64_t row_step_;  // bytes between the rows of a thread's copies
  int target_, row_, chunk_, left_;
};

// Reads the fragments of a warp's kWarpExtent rows (A) or columns (B), 16 of them by 32 bytes of k at a time.
template <class T, Major kMajor, int kExtent, int kDepth, int kWarpExtent, bool kIsA>
class FragmentReader {
  using Layout = OperandLayout<T, kMajor, kExtent, kDepth>;
  static constexpr bool kSingly = kMajor == Major::mn && sizeof(T) == 4;
  static_assert(kSingly ? kWarpExtent % Layout::kPanel == 0 : 64 % kWarpExtent == 0,
                "a warp stays within a panel, or has whole ones");

 public:
  // ldmatrix takes the row addresses of four 8 x 8 matrices from lanes 0-7, 8-15, 16-23 and 24-31. A's
  // registers are rows 0-7 and 8-15 of the first half of k, then of the second; B's are both halves of k of
  // columns 0-7, then of columns 8-15.
  __device__ __forceinline__ explicit FragmentReader(int warp) {
    const int lane = lane_index(), matrix = lane / 8, row = lane % 8;
    if constexpr (kSingly) {
      lane_ = Layout::offset(warp * kWarpExtent + lane / 4, lane % 4);
      return;
    }
    const int half_mn = kIsA ? matrix % 2 : matrix / 2, half_k = kIsA ? matrix / 2 : matrix % 2;
    const int mn = warp * kWarpExtent + half_mn * 8, k = half_k * (16 / static_cast<int>(sizeof(T)));
    lane_ = kMajor == Major::k ? Layout::offset(mn + row, k) : Layout::offset(mn, k + row);
  }

  // Block `block` of 16 of the warp's rows or columns, bytes 32 `part` .. 32 `part` + 31 of the step's k.
  __device__ __forceinline__ void load(const unsigned char* stage, int block, int part,
                                       uint32_t (&r)[4]) const {
    // Steps along a row change only bits of the chunk number, and commute with the swizzle as an XOR.
    if constexpr (kSingly) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int half_mn = kIsA ? i % 2 : i / 2, half_k = kIsA ? i / 2 : i % 2;
        const int within = lane_ ^ (block % 2 * 64 + half_mn * 32);
        r[i] = *reinterpret_cast<const uint32_t*>(stage + within + block / 2 * (kDepth * 128) +
                                                  (part * 8 + half_k * 4) * 128);
      }
    } else if constexpr (kMajor == Major::k) {
      load_matrix_x4(r, stage + (lane_ ^ part * 32) + block * 16 * Layout::kRowBytes);
    } else {
      load_matrix_x4_transposed(r, stage + (lane_ ^ block * 32) + part * 16 * Layout::kRowBytes);
    }
  }

 private:
  int lane_;
};

}  // namespace native::cuda
