// Attention forward with tensor cores (mma.sync m16n8k16), bfloat16 or float16, float32 logits, softmax and
// sums. A warp computes 32 queries of one head (16 where there are no more): two row tiles share every
// fragment of keys and values, else reading those from shared memory would take longer than the products. A
// block has up to four warps; keys and values pass through shared memory in blocks of 64, the next one
// arriving while this one is used. Per 32 keys a warp makes logits, weights and the weighted sum of values;
// the weights go from one product to the next in registers. So one kernel serves all lengths: 8 message
// tokens are one warp and one block of keys, 198 tokens are seven row tiles in two thread blocks and six full
// steps and one of 16.
//
// Floor: 4 queries keys 64 FLOP per head on the tensor cores and queries keys exponentials (16 per clock and
// multiprocessor: as long as the products); reads q, k, v, writes out once. Three thread blocks of four warps
// fit a multiprocessor (168 registers): while one waits for its keys, others compute.
#include <primitives/launch.h>

#include "attention_softmax.cuh"
#include "common/vector.cuh"

namespace native {
namespace {

using namespace cuda;
using namespace cuda::attention;

constexpr int kMaxWarps = 4, kKeyBlock = 64, kStep = 32;

// Shared memory: one or two stages, then the queries of all warps [rows, 64].
template <class T>
struct Stage {
  T k[kKeyBlock * kHeadColumns], v[kKeyBlock * kHeadColumns];
};
__host__ __device__ constexpr int stages_for(int64_t keys) { return keys > kKeyBlock ? 2 : 1; }

// A warp's queries and what it has summed so far.
template <int kTiles>
struct Rows {
  uint32_t q[kTiles][kColumnSteps][4];
  float out[kTiles][kChunksPerRow][4] = {};
  SoftmaxRows softmax[kTiles];
  int first;  // query
};

// kKeys keys from `key` on, rows `row` on of the stage. Only with kMasked do rows see fewer than all of them.
template <int kKeys, bool kMask, class T, int kTiles>
__device__ __forceinline__ void attend(Rows<kTiles>& rows, const T* k, const T* v, int row, int key, int keys,
                                       bool causal, float c) {
  float weights[kTiles][kKeys / 8][4] = {};
#pragma unroll
  for (int step = 0; step < kColumnSteps; ++step) {
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      const RightPair right = load_right_transposed(k, row + 16 * n, step);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        mma<T>(weights[t][2 * n], rows.q[t][step], right.first);
        mma<T>(weights[t][2 * n + 1], rows.q[t][step], right.second);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    float shrink[2];
    const auto seen = [&](int half) {
      const int query = rows.first + 16 * t + lane_index() / 4 + 8 * half;
      return causal ? smaller(keys, query + 1) : keys;
    };
    const bool grown = take_weights<kKeys / 8, kMask>(rows.softmax[t], weights[t], shrink, key, seen, c);
    if (any_lane(grown)) {
#pragma unroll
      for (int n = 0; n < kChunksPerRow; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) rows.out[t][n][i] *= shrink[i / 2];
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) {
    uint32_t left[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) as_left<T>(left[t], weights[t][2 * n], weights[t][2 * n + 1]);
#pragma unroll
    for (int step = 0; step < kColumnSteps; ++step) {
      const RightPair right = load_right(v, row + 16 * n, step);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        mma<T>(rows.out[t][2 * step], left[t], right.first);
        mma<T>(rows.out[t][2 * step + 1], left[t], right.second);
      }
    }
  }
}

// Grid: query blocks x heads x batch, flattened.
template <class T, int kTiles>
__global__ void __launch_bounds__(kTiles == 2 ? kMaxWarps * kWarpSize : kWarpSize, kTiles == 2 ? 3 : 12)
    attention_forward_kernel(AttentionArgs a, float scale, int query_blocks) {
  wait_for_previous_grid();
  Stage<T>* stages = &shared_memory<Stage<T>>();
  T* q_tile = reinterpret_cast<T*>(stages + stages_for(a.keys));
  constexpr int kWarpRows = 16 * kTiles;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int rows_per_block = threads / kWarpSize * kWarpRows;
  int block = static_cast<int>(blockIdx.x);
  const int first = block % query_blocks * rows_per_block;
  block /= query_blocks;
  const int heads = static_cast<int>(a.heads), size = static_cast<int>(a.head_size), head_chunks = size / 8;
  const int head = block % heads;
  const int64_t sequence = block / heads;
  const int queries = static_cast<int>(a.queries), keys = static_cast<int>(a.keys);
  // Keys that the block's and the warp's last query and the warp's first query see.
  const int warp_row = warp_index() * kWarpRows, warp_first = first + warp_row;
  const int block_seen = a.causal ? smaller(keys, first + rows_per_block) : keys;
  const int warp_seen = warp_first >= queries ? 0 : a.causal ? smaller(keys, warp_first + kWarpRows) : keys;
  const int all_seen = a.causal ? smaller(keys, warp_first + 1) : keys;

  const int64_t kv = sequence * a.kv_batch + head * size;
  const auto copy_keys = [&](int key) {
    Stage<T>& stage = stages[key / kKeyBlock % 2];
    const int count = smaller(block_seen - key, kKeyBlock), padded = (count + 15) / 16 * 16;
    const int64_t from = kv + key * a.kv_row;
    copy_rows_async(stage.k, static_cast<const T*>(a.k) + from, a.kv_row, count, padded, head_chunks, thread,
                    threads);
    copy_rows_async(stage.v, static_cast<const T*>(a.v) + from, a.kv_row, count, padded, head_chunks, thread,
                    threads);
    copy_async_commit();
  };

  const T* q = static_cast<const T*>(a.q) + sequence * a.q_batch + first * a.q_row + head * size;
  copy_rows_async(q_tile, q, a.q_row, queries - first, rows_per_block, head_chunks, thread, threads);
  copy_keys(0);
  copy_async_wait<0>();
  block_barrier();
  Rows<kTiles> rows;
  rows.first = warp_first;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int step = 0; step < kColumnSteps; ++step) {
      load_left(rows.q[t][step], q_tile, warp_row + 16 * t, step);
    }
  }

  const float c = scale * kLog2E;
  for (int block_key = 0; block_key < block_seen; block_key += kKeyBlock) {
    if (block_key + kKeyBlock < block_seen) copy_keys(block_key + kKeyBlock);
    const Stage<T>& stage = stages[block_key / kKeyBlock % 2];
    const int end = smaller(warp_seen, block_key + kKeyBlock);
    int key = block_key;
    for (; key < smaller(end, all_seen - kStep + 1); key += kStep) {
      attend<kStep, false>(rows, stage.k, stage.v, key - block_key, key, keys, a.causal, c);
    }
    for (; key < end; key += 16) {
      attend<16, true>(rows, stage.k, stage.v, key - block_key, key, keys, a.causal, c);
    }
    copy_async_wait<0>();
    block_barrier();  // the next keys are here, and these are done with
  }
  if (warp_first >= queries) return;

  const int64_t dim = a.heads * a.head_size;
  T* out = static_cast<T*>(a.out) + (sequence * queries + warp_first) * dim + head * size;
  float* log_sum = a.log_sum + (sequence * heads + head) * queries + warp_first;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    float inverse[2];
    finish_rows(rows.softmax[t], inverse, log_sum + 16 * t, queries - warp_first - 16 * t, scale);
    store_result(out + 16 * t * dim, dim, queries - warp_first - 16 * t, head_chunks, rows.out[t], inverse);
  }
}

template <class T, int kTiles>
void launch_forward(const AttentionArgs& a) {
  const unsigned tiles = blocks_for(a.queries, 16 * kTiles), blocks = blocks_for(tiles, kMaxWarps);
  const int warps = static_cast<int>(blocks_for(tiles, blocks));
  const size_t q_bytes = sizeof(T) * warps * 16 * kTiles * kHeadColumns;
  launch_kernel(attention_forward_kernel<T, kTiles>,
                {blocks_for(a.batch * a.heads * blocks, 1), warps * kWarpSize,
                 stages_for(a.keys) * sizeof(Stage<T>) + q_bytes},
                a, 1.0f / std::sqrt(static_cast<float>(a.head_size)), blocks);
}

template <class T>
void forward(const AttentionArgs& a) {
  a.queries <= 16 ? launch_forward<T, 1>(a) : launch_forward<T, 2>(a);
}

}  // namespace

void cuda::attention_forward_tensor_cores(const AttentionArgs& a) {
  a.dtype == DType::float16 ? forward<float16>(a) : forward<bfloat16>(a);
}

}  // namespace native
