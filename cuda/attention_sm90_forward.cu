// Attention forward with the products of a warpgroup (sm_90a), for heads of 64 columns: 64 queries of one
// head are a block of four warps, four blocks a multiprocessor, of which some multiply while others take
// exponentials. Keys and values come by TMA in blocks of 64, three of each ahead. Queries and weights are
// left operands in registers, so products read nothing but keys and values from shared memory. A step makes
// weights of a block of keys out of its logits, then adds weights times values and makes the logits of the
// next block, as one group of products. A last block of up to 16 keys, as a message or class token makes it,
// is no larger than that.
//
// Floor per 64 queries and a key, in clocks of a multiprocessor: 4 for the products, 4 for the exponentials,
// 4 for all instructions. In mma.sync products take 6.5 (attention_tensor_core_forward.cu).
#include <primitives/launch.h>

#include <primitives/wgmma.cuh>

#include "attention_softmax.cuh"
#include "common/vector.cuh"
#include "runtime/tensor_map.h"

namespace native {
namespace {

using namespace cuda;
using namespace cuda::attention;

constexpr int kThreads = 128, kRows = 64, kStages = 3;
constexpr int kBlockBytes = kRows * kHeadColumns * 2;

struct Shared {
  alignas(1024) unsigned char k[kStages][kBlockBytes];
  alignas(1024) unsigned char v[kStages][kBlockBytes];  // the last has the queries at first
  Barrier k_full[kStages], v_full[kStages], q_full;
};

using Fragments = uint32_t[kColumnSteps][4];  // 64 rows by 64 columns of a left operand

// Issues logits [64, kKeys] = queries keysᵀ.
template <class T, int kKeys>
__device__ __forceinline__ void multiply_keys(float (&logits)[kRows / 2], const Fragments& q,
                                              const unsigned char* k) {
  const uint64_t keys = shared_descriptor(k, 16, 1024, Swizzle::bytes_128);
#pragma unroll
  for (int step = 0; step < kColumnSteps; ++step) {
    wgmma_from_registers<T, kKeys, false>(reinterpret_cast<float(&)[kKeys / 2]>(logits), q[step],
                                          keys + 2 * step, step > 0);
  }
}
// Issues out [64, 64] += weights values, of kKeys keys.
template <class T, int kKeys>
__device__ __forceinline__ void multiply_values(float (&out)[kRows / 2], const Fragments& weights,
                                                const unsigned char* v) {
  const uint64_t values = shared_descriptor(v, kBlockBytes, 1024, Swizzle::bytes_128);
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    wgmma_from_registers<T, kHeadColumns, true>(out, weights[step], values + 128 * step, true);
  }
}

// Logits of kKeys keys from `key` on become weights, as left operands.
template <class T, int kKeys, bool kMask>
__device__ __forceinline__ void weigh(SoftmaxRows& rows, float (&logits)[kRows / 2], Fragments& weights,
                                      float (&out)[kRows / 2], int key, int keys, float c) {
  auto& chunks = reinterpret_cast<float(&)[kKeys / 8][4]>(logits);
  float shrink[2];
  if (any_lane(take_weights<kKeys / 8, kMask>(
          rows, chunks, shrink, key, [=](int) { return keys; }, c))) {
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) out[i] *= shrink[i / 2 % 2];
  }
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) as_left<T>(weights[n], chunks[2 * n], chunks[2 * n + 1]);
}

// Grid: blocks of queries x heads x batch, flattened.
template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    attention_forward_sm90_kernel(const __grid_constant__ TensorMap q_map,
                                  const __grid_constant__ TensorMap k_map,
                                  const __grid_constant__ TensorMap v_map, T* out, float* log_sum,
                                  int queries, int keys, int heads, bool shared_queries, float scale,
                                  int query_blocks) {
#if HOPPER_CODE
  auto& shared = shared_memory<Shared>();
  const int warp = warp_index();
  if (threadIdx.x == 0) {
    tma_prefetch(q_map);
    tma_prefetch(k_map);
    tma_prefetch(v_map);
    for (int i = 0; i < kStages; ++i) barrier_init(shared.k_full[i], 1), barrier_init(shared.v_full[i], 1);
    barrier_init(shared.q_full, 1);
    fence_barrier_init();
  }
  block_barrier();
  wait_for_previous_grid();
  int block = static_cast<int>(blockIdx.x);
  const int first = block % query_blocks * kRows;
  block /= query_blocks;
  const int head = block % heads, sequence = block / heads;
  // Blocks of 64 keys, then `narrow` ones.
  const int tail = keys % kRows, narrow = tail <= 16 ? tail : 0, wide = (keys - narrow + kRows - 1) / kRows;
  const int blocks = wide + (narrow > 0);

  const bool loads = warp == 0 && elect_one();
  const auto load = [&](unsigned char(&to)[kStages][kBlockBytes], Barrier(&full)[kStages],
                        const TensorMap& map, int index) {
    if (!loads || index >= blocks) return;
    const int stage = index % kStages;
    barrier_arrive_expect(full[stage], kBlockBytes);
    tma_load(to[stage], map, full[stage], head * kHeadColumns, index * kRows, sequence);
  };
  const auto load_k = [&](int index) { load(shared.k, shared.k_full, k_map, index); };
  const auto load_v = [&](int index) { load(shared.v, shared.v_full, v_map, index); };
  const auto wait = [&](Barrier(&full)[kStages], int index) {
    barrier_wait(full[index % kStages], static_cast<uint32_t>(index / kStages & 1));
  };

  unsigned char* const q_tile = shared.v[kStages - 1];
  if (loads) {
    barrier_arrive_expect(shared.q_full, kBlockBytes);
    tma_load(q_tile, q_map, shared.q_full, head * kHeadColumns, first, shared_queries ? 0 : sequence);
  }
  for (int i = 0; i < kStages; ++i) {
    load_k(i);
    if (i + 1 < kStages) load_v(i);
  }
  Fragments q, weights;
  barrier_wait(shared.q_full, 0);
#pragma unroll
  for (int step = 0; step < kColumnSteps; ++step) {
    load_left(q[step], reinterpret_cast<const T*>(q_tile), 16 * warp, step);
  }
  SoftmaxRows rows;
  float logits[kRows / 2], sums[kRows / 2] = {};
  // The group of products is done with the keys of block `index` and the values of the one before.
  const auto finish_products = [&](int index) {
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_settle(logits);
    wgmma_settle(sums);
    block_barrier();
    load_k(index + kStages);
    load_v(index - 1 + kStages);
  };
  const auto finish_sums = [&] {
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_settle(sums);
  };
  const float c = scale * kLog2E;
  wait(shared.k_full, 0);
  wgmma_fence();
  multiply_keys<T, kRows>(logits, q, shared.k[0]);
  finish_products(0);
  int index = 0;
#pragma unroll 1
  for (; index + 1 < wide; ++index) {
    weigh<T, kRows, false>(rows, logits, weights, sums, index * kRows, keys, c);
    wait(shared.v_full, index);
    wait(shared.k_full, index + 1);
    wgmma_fence();
    multiply_values<T, kRows>(sums, weights, shared.v[index % kStages]);
    multiply_keys<T, kRows>(logits, q, shared.k[(index + 1) % kStages]);
    finish_products(index + 1);
  }
  weigh<T, kRows, true>(rows, logits, weights, sums, index * kRows, keys, c);
  wait(shared.v_full, index);
  if (narrow > 0) {
    wait(shared.k_full, index + 1);
    wgmma_fence();
    multiply_values<T, kRows>(sums, weights, shared.v[index % kStages]);
    ++index;
    multiply_keys<T, 16>(logits, q, shared.k[index % kStages]);
    finish_products(index);
    weigh<T, 16, true>(rows, logits, weights, sums, index * kRows, keys, c);
    wait(shared.v_full, index);
    wgmma_fence();
    multiply_values<T, 16>(sums, weights, shared.v[index % kStages]);
    finish_sums();
  } else {
    wgmma_fence();
    multiply_values<T, kRows>(sums, weights, shared.v[index % kStages]);
    finish_sums();
  }

  const int row = first + 16 * warp;
  if (row >= queries) return;
  const int64_t dim = static_cast<int64_t>(heads) * kHeadColumns;
  const int64_t sequence_head = static_cast<int64_t>(sequence) * heads + head;
  float inverse[2];
  finish_rows(rows, inverse, log_sum + sequence_head * queries + row, queries - row, scale);
  store_result(out + (static_cast<int64_t>(sequence) * queries + row) * dim + head * kHeadColumns, dim,
               queries - row, kChunksPerRow, reinterpret_cast<float(&)[kChunksPerRow][4]>(sums), inverse);
#endif
}

TensorMapShape map_shape(const AttentionArgs& a, int64_t rows, int64_t row, int64_t batch) {
  return {a.heads * kHeadColumns, rows, batch == 0 ? 1 : a.batch, row, batch, kHeadColumns, kRows};
}
TensorMapShape q_shape(const AttentionArgs& a) { return map_shape(a, a.queries, a.q_row, a.q_batch); }
TensorMapShape kv_shape(const AttentionArgs& a) { return map_shape(a, a.keys, a.kv_row, a.kv_batch); }

template <class T>
void forward(const AttentionArgs& a) {
  const auto map = [&](const void* data, const TensorMapShape& shape) {
    return encode_tensor_map(data, a.dtype, shape, Swizzle::bytes_128);
  };
  const unsigned query_blocks = blocks_for(a.queries, kRows);
  launch_kernel(attention_forward_sm90_kernel<T>,
                {blocks_for(a.batch * a.heads * query_blocks, 1), kThreads, sizeof(Shared)},
                map(a.q, q_shape(a)), map(a.k, kv_shape(a)), map(a.v, kv_shape(a)), static_cast<T*>(a.out),
                a.log_sum, static_cast<int>(a.queries), static_cast<int>(a.keys), static_cast<int>(a.heads),
                a.q_batch == 0, 1.0f / std::sqrt(static_cast<float>(a.head_size)),
                static_cast<int>(query_blocks));
}

}  // namespace

bool cuda::attention_forward_sm90_supports(const AttentionArgs& a) {
  return a.head_size == kHeadColumns && !a.causal && a.keys > 16 &&
         tensor_map_supports(a.q, a.dtype, q_shape(a)) && tensor_map_supports(a.k, a.dtype, kv_shape(a)) &&
         tensor_map_supports(a.v, a.dtype, kv_shape(a));
}

void cuda::attention_forward_sm90(const AttentionArgs& a) {
  a.dtype == DType::float16 ? forward<float16>(a) : forward<bfloat16>(a);
}

}  // namespace native
