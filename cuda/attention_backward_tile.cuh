// The backward of attention on tensor cores, its parts: how the work is cut into steps, the layout of shared
// memory, what is copied there, and what a warp does with 16 queries for its 32 keys. The whole is described
// in attention_tensor_core_backward.cu.
#pragma once

#include <limits>

#include "attention_tile.cuh"

namespace native::cuda::attention {

inline constexpr int kMaxWarps = 8, kWarpKeys = 32, kBlock = 32;  // queries
inline constexpr int kUnits = 8;                                  // of dq per block of queries
inline constexpr int kPartialWords = kUnits * 2 * kWarpSize;      // float4 per block of queries
inline constexpr int kBlockChunks = kBlock * kChunksPerRow;

// How the work is laid out; made by the launcher.
struct Plan {
  int warps, passes;  // passes x warps x 32 >= keys
  int slots;          // places for k and v: 2 when those of the next head or pass are loaded ahead
  int blocks;         // of queries
  int items;          // heads x batch
  float scale;
  float4* partial;  // dq so far: per thread block, or with `shared_queries` per item
  bool shared_queries;
};

template <class T>
struct QueryStage {
  T q[kBlock * kHeadColumns], dout[kBlock * kHeadColumns], out[kBlock * kHeadColumns];
};
// Of a block's queries: log2(e) log_sum and delta, side by side.
struct alignas(16) QueryFacts {
  float values[kBlock][2];
};

// Shared memory, in this order: k and v of `slots` passes, [warps x 32, 64] each; dsᵀ of two blocks of
// queries, [warps x 32, 32]; two stages of queries; their facts.
template <class T>
struct Shared {
  T *keys, *dlogits;
  QueryStage<T>* stage;
  QueryFacts* facts;

  __device__ __forceinline__ explicit Shared(const Plan& plan) {
    keys = &shared_memory<T>();
    dlogits = keys + plan.slots * 2 * plan.warps * kWarpKeys * kHeadColumns;
    stage = reinterpret_cast<QueryStage<T>*>(dlogits + 2 * plan.warps * kWarpKeys * kBlock);
    facts = reinterpret_cast<QueryFacts*>(stage + 2);
  }
};
inline size_t shared_bytes(int warps, int slots) {
  const size_t rows = static_cast<size_t>(warps) * kWarpKeys;
  return 2 * rows * (slots * 2 * kHeadColumns + 2 * kBlock) + 2 * sizeof(QueryStage<bfloat16>) +
         2 * sizeof(QueryFacts);
}

// One pass of one item: `warps` x 32 keys of one head of one sequence.
struct Step {
  int item, pass;
  int of_sequence, of_head;  // kept, as divisions are long

  __device__ __forceinline__ static Step first_of(const AttentionArgs& a, int item) {
    const int heads = static_cast<int>(a.heads), sequence = item / heads;
    return {item, 0, sequence, item - sequence * heads};
  }
  __device__ __forceinline__ Step next(const AttentionArgs& a, const Plan& plan) const {
    if (pass + 1 < plan.passes) return {item, pass + 1, of_sequence, of_head};
    return first_of(a, item + static_cast<int>(gridDim.x));
  }
  __device__ __forceinline__ bool exists(const Plan& plan) const { return item < plan.items; }
  __device__ __forceinline__ int first_key(const Plan& plan) const { return pass * plan.warps * kWarpKeys; }
  __device__ __forceinline__ int key_count(const AttentionArgs& a, const Plan& plan) const {
    return smaller(static_cast<int>(a.keys) - first_key(plan), plan.warps * kWarpKeys);
  }
  __device__ __forceinline__ int padded_keys(const AttentionArgs& a, const Plan& plan) const {
    return (key_count(a, plan) + kWarpKeys - 1) / kWarpKeys * kWarpKeys;
  }
  // The first block of queries that sees one of the keys (or the last block, so that there is one).
  __device__ __forceinline__ int first_block(const AttentionArgs& a, const Plan& plan) const {
    return a.causal ? smaller(first_key(plan) / kBlock, plan.blocks - 1) : 0;
  }
  __device__ __forceinline__ int64_t sequence(const AttentionArgs&) const { return of_sequence; }
  __device__ __forceinline__ int head(const AttentionArgs&) const { return of_head; }
};

// Starts copying k and v of a step, rows first .. end - 1 (multiples of 8) of its tile: zeros where the step
// has no more keys.
template <class T>
__device__ __forceinline__ void copy_keys(const AttentionArgs& a, const Plan& plan, Step step, T* keys,
                                          int first, int end) {
  const int size = static_cast<int>(a.head_size);
  const int64_t from =
      step.sequence(a) * a.kv_batch + (step.first_key(plan) + first) * a.kv_row + step.head(a) * size;
  T* tile = keys + first * kHeadColumns;
  for (const void* source : {a.k, a.v}) {
    copy_rows_async(tile, static_cast<const T*>(source) + from, a.kv_row, step.key_count(a, plan) - first,
                    end - first, size / 8, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x));
    tile += plan.warps * kWarpKeys * kHeadColumns;
  }
}

// Starts copying a block of queries and what belongs to it.
template <class T>
__device__ __forceinline__ void copy_queries(const AttentionBackwardArgs& args, Step step, int block,
                                             QueryStage<T>& stage) {
  const AttentionArgs& a = args.forward;
  const int size = static_cast<int>(a.head_size), first = block * kBlock;
  const int64_t dim = a.heads * a.head_size;
  const int64_t q = step.sequence(a) * a.q_batch + first * a.q_row + step.head(a) * size;
  const int64_t out = (step.sequence(a) * a.queries + first) * dim + step.head(a) * size;
  const auto copy = [&](T* tile, const void* source, int64_t from, int64_t stride) {
    copy_rows_async(tile, static_cast<const T*>(source) + from, stride, static_cast<int>(a.queries) - first,
                    kBlock, size / 8, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x));
  };
  copy(stage.q, a.q, q, a.q_row);
  copy(stage.dout, args.dout, out, dim);
  copy(stage.out, a.out, out, dim);
}

// log_sum of this lane's query of a block, in powers of two; infinite, so that weights are 0, where there is
// none.
__device__ __forceinline__ float load_log_sum(const AttentionArgs& a, Step step, int block) {
  const int query = block * kBlock + lane_index();
  if (query >= a.queries) return std::numeric_limits<float>::infinity();
  return a.log_sum[step.item * a.queries + query] * kLog2E;
}

// delta of a block's queries. Every thread reads only what it copied itself: no barrier is needed before.
template <class T>
__device__ __forceinline__ void find_deltas(const QueryStage<T>& stage, QueryFacts& facts) {
  for (int i = static_cast<int>(threadIdx.x); i < kBlockChunks; i += static_cast<int>(blockDim.x)) {
    const int row = i / kChunksPerRow, chunk = i % kChunksPerRow;
    const uint4 x = *reinterpret_cast<const uint4*>(chunk_of(stage.out, row, chunk));
    const uint4 y = *reinterpret_cast<const uint4*>(chunk_of(stage.dout, row, chunk));
    const uint32_t out[4] = {x.x, x.y, x.z, x.w}, dout[4] = {y.x, y.y, y.z, y.w};
    float sum = 0;
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const float2 left = unpack2<T>(out[word]), right = unpack2<T>(dout[word]);
      sum = fmaf(left.x, right.x, fmaf(left.y, right.y, sum));
    }
#pragma unroll
    for (int mask = 1; mask < kChunksPerRow; mask *= 2) sum += shuffle_xor(sum, mask);
    if (chunk == 0) facts.values[row][1] = sum;
  }
}

// A warp's 32 keys.
struct Keys {
  uint32_t k[2][kColumnSteps][4], v[2][kColumnSteps][4];
  float dk[2][kChunksPerRow][4] = {}, dv[2][kChunksPerRow][4] = {};
};

// Adds what 16 queries, `row` on of the stage and `query` on of the head, give to dk and dv of 32 keys, `key`
// on of the head, and puts dsᵀ into 16 columns of `dlogits`, the rows of these keys.
template <class T>
__device__ __forceinline__ void visit_queries(Keys& keys, const QueryStage<T>& stage, const QueryFacts& facts,
                                              T* dlogits, int row, int query, int key, int key_end,
                                              bool causal, float c) {
  const int lane = lane_index();
  float weights[2][2][4] = {}, slopes[2][2][4] = {};  // [key tile][8 queries], of the transposes
#pragma unroll
  for (int step = 0; step < kColumnSteps; ++step) {
    const RightPair q = load_right_transposed(stage.q, row, step);
    const RightPair dout = load_right_transposed(stage.dout, row, step);
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      mma<T>(weights[t][0], keys.k[t][step], q.first);
      mma<T>(weights[t][1], keys.k[t][step], q.second);
      mma<T>(slopes[t][0], keys.v[t][step], dout.first);
      mma<T>(slopes[t][1], keys.v[t][step], dout.second);
    }
  }
  const bool masked = key + kWarpKeys > key_end || (causal && query < key + kWarpKeys - 1);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int column = 8 * n + 2 * (lane % 4);
    const float4 pair = *reinterpret_cast<const float4*>(&facts.values[row + column]);
    const float log_sum[2] = {pair.x, pair.z}, delta[2] = {pair.y, pair.w};
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weights[t][n][i] = exp2_approx(fmaf(weights[t][n][i], c, -log_sum[i & 1]));
      }
      if (masked) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = key + 16 * t + lane / 4 + 8 * (i / 2);
          if (at >= key_end || (causal && query + column + (i & 1) < at)) weights[t][n][i] = 0;
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) slopes[t][n][i] = weights[t][n][i] * (slopes[t][n][i] - delta[i & 1]);
    }
  }
  uint32_t left_weights[2][4], left_slopes[2][4];
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    as_left<T>(left_weights[t], weights[t][0], weights[t][1]);
    as_left<T>(left_slopes[t], slopes[t][0], slopes[t][1]);
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      T* chunk = chunk_of<kBlock>(dlogits + (16 * t + 8 * (word & 1)) * kBlock, lane / 4, row / 8 + word / 2);
      reinterpret_cast<uint32_t*>(chunk)[lane % 4] = left_slopes[t][word];
    }
  }
#pragma unroll
  for (int step = 0; step < kColumnSteps; ++step) {
    const RightPair dout = load_right(stage.dout, row, step), q = load_right(stage.q, row, step);
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      mma<T>(keys.dv[t][2 * step], left_weights[t], dout.first);
      mma<T>(keys.dv[t][2 * step + 1], left_weights[t], dout.second);
      mma<T>(keys.dk[t][2 * step], left_slopes[t], q.first);
      mma<T>(keys.dk[t][2 * step + 1], left_slopes[t], q.second);
    }
  }
}

}  // namespace native::cuda::attention
