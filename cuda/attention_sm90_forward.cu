// Attention forward with the products of a warpgroup (sm_90a), for heads of 64 columns. A thread block is
// four warps and has 64 queries of one head at a time. Four of them stay on a multiprocessor, of which some
// multiply while others take exponentials. Queries, keys and values come by TMA in boxes of 64 rows through a
// ring of six slots, those of the next 64 queries behind them. Queries and weights are left operands in
// registers, so products read nothing but keys and values from shared memory. A step makes weights of a block
// of keys out of its logits, then adds weights times values and makes the logits of the next block, as one
// group of products. A last block of up to 16 keys, as a message or class token makes it, is no larger than
// that.
//
// Floor per 64 queries and a key, in clocks of a multiprocessor: 4 for the products, 4 for the exponentials,
// 4 for all instructions. In mma.sync products take 6.5 (attention_tensor_core_forward.cu).
#include <primitives/launch.h>

#include <primitives/wgmma.cuh>

#include "attention_softmax.cuh"
#include "common/ring.cuh"
#include "common/vector.cuh"
#include "runtime/tensor_map.h"

namespace native {
namespace {

using namespace cuda;
using namespace cuda::attention;

constexpr int kThreads = 128, kRows = 64, kSlots = 6;
constexpr int kResident = 4;  // thread blocks of a multiprocessor: 128 registers, 49 KB
constexpr int kBoxBytes = kRows * kHeadColumns * 2;

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
  const uint64_t values = shared_descriptor(v, kBoxBytes, 1024, Swizzle::bytes_128);
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

struct Sizes {
  int queries, keys, heads, query_blocks;
  int works;  // query_blocks x heads x batch
  bool shared_queries;
};
// 64 queries of a head.
struct Work {
  int first, head, sequence;
  __device__ __forceinline__ Work(int index, const Sizes& sizes) {
    const int heads = index / sizes.query_blocks;
    first = (index - heads * sizes.query_blocks) * kRows;
    sequence = heads / sizes.heads;
    head = heads - sequence * sizes.heads;
  }
};

// What goes through the slots: of each work in turn its queries, then keys and values of block after block.
struct Boxes {
  int index, next;  // of the work, and within it
  Work work;
  Ring<kSlots> slot;
};
struct Shared {
  alignas(1024) unsigned char slots[kSlots][kBoxBytes];
  Barrier full[kSlots];
  Boxes boxes;  // of the thread that loads, which has no registers to spare
};

#if HOPPER_CODE
// By that thread: starts loading `count` more boxes, where there are any.
__device__ __forceinline__ void load_boxes(Shared& shared, const TensorMap& q, const TensorMap& k,
                                           const TensorMap& v, const Sizes& sizes, int blocks, int count) {
  Boxes boxes = shared.boxes;
#pragma unroll 1
  for (; count > 0 && boxes.index < sizes.works; --count, boxes.slot.advance()) {
    const TensorMap& map = boxes.next == 0 ? q : boxes.next % 2 ? k : v;
    const int row = boxes.next == 0 ? boxes.work.first : (boxes.next - 1) / 2 * kRows;
    Barrier& full = shared.full[boxes.slot.index];
    barrier_arrive_expect(full, kBoxBytes);
    tma_load(shared.slots[boxes.slot.index], map, full, boxes.work.head * kHeadColumns, row,
             boxes.next == 0 && sizes.shared_queries ? 0 : boxes.work.sequence);
    if (++boxes.next > 2 * blocks) {
      boxes.next = 0, boxes.index += static_cast<int>(gridDim.x);
      boxes.work = Work(boxes.index, sizes);
    }
  }
  shared.boxes = boxes;
}
#endif

template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    attention_forward_sm90_kernel(const __grid_constant__ TensorMap q_map,
                                  const __grid_constant__ TensorMap k_map,
                                  const __grid_constant__ TensorMap v_map, T* out, float* log_sum,
                                  const __grid_constant__ Sizes sizes, float scale) {
#if HOPPER_CODE
  auto& shared = shared_memory<Shared>();
  const int warp = warp_index();
  if (threadIdx.x == 0) {
    tma_prefetch(q_map);
    tma_prefetch(k_map);
    tma_prefetch(v_map);
    for (int i = 0; i < kSlots; ++i) barrier_init(shared.full[i], 1);
    fence_barrier_init();
  }
  block_barrier();
  wait_for_previous_grid();
  // Blocks of 64 keys, then `narrow` ones.
  const int keys = sizes.keys, tail = keys % kRows, narrow = tail <= 16 ? tail : 0;
  const int wide = (keys - narrow + kRows - 1) / kRows;
  const int first_work = static_cast<int>(blockIdx.x);
  // Starting copies takes a warp two instructions for every five of its others. So it is another warp of each
  // of the blocks that a multiprocessor has, which are those of each quarter of the grid, as a rule.
  const int loader = first_work * (kThreads / kWarpSize) / static_cast<int>(gridDim.x);
  const bool loads = warp == loader && elect_one();
  const auto load = [&](int count) {
    if (loads) load_boxes(shared, q_map, k_map, v_map, sizes, wide + (narrow > 0), count);
  };
  if (loads) shared.boxes = {first_work, 0, Work(first_work, sizes), {}};
  load(kSlots);

  Ring<kSlots> slot;
  const auto take = [&] {
    barrier_wait(shared.full[slot.index], slot.phase);
    const unsigned char* box = shared.slots[slot.index];
    slot.advance();
    return box;
  };
  Fragments q, weights;
  float logits[kRows / 2], sums[kRows / 2];
  const auto finish_products = [&](int freed) {
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_settle(logits);
    wgmma_settle(sums);
    block_barrier();
    load(freed);
  };
  const auto finish_sums = [&] {
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_settle(sums);
  };
  const float c = scale * kLog2E;
#pragma unroll 1
  for (int index = first_work; index < sizes.works; index += static_cast<int>(gridDim.x)) {
    SoftmaxRows rows;
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) sums[i] = 0;
    const T* q_box = reinterpret_cast<const T*>(take());
#pragma unroll
    for (int step = 0; step < kColumnSteps; ++step) load_left(q[step], q_box, 16 * warp, step);
    const unsigned char* keys_box = take();
    wgmma_fence();
    multiply_keys<T, kRows>(logits, q, keys_box);
    finish_products(index == first_work ? 2 : 3);  // and the last values of the work before
    int key = 0;
#pragma unroll 1
    for (; key < (wide - 1) * kRows; key += kRows) {
      weigh<T, kRows, false>(rows, logits, weights, sums, key, keys, c);
      const unsigned char* values_box = take();
      keys_box = take();
      wgmma_fence();
      multiply_values<T, kRows>(sums, weights, values_box);
      multiply_keys<T, kRows>(logits, q, keys_box);
      finish_products(2);
    }
    weigh<T, kRows, true>(rows, logits, weights, sums, key, keys, c);
    const unsigned char* values_box = take();
    if (narrow > 0) {
      keys_box = take();
      wgmma_fence();
      multiply_values<T, kRows>(sums, weights, values_box);
      multiply_keys<T, 16>(logits, q, keys_box);
      finish_products(2);
      weigh<T, 16, true>(rows, logits, weights, sums, key + kRows, keys, c);
      values_box = take();
      wgmma_fence();
      multiply_values<T, 16>(sums, weights, values_box);
      finish_sums();
    } else {
      wgmma_fence();
      multiply_values<T, kRows>(sums, weights, values_box);
      finish_sums();
    }

    const Work work(index, sizes);
    const int row = work.first + 16 * warp, count = sizes.queries - row;
    if (count <= 0) continue;
    const int64_t dim = static_cast<int64_t>(sizes.heads) * kHeadColumns;
    const int64_t sequence_head = static_cast<int64_t>(work.sequence) * sizes.heads + work.head;
    float inverse[2];
    finish_rows(rows, inverse, log_sum + sequence_head * sizes.queries + row, count, scale);
    store_result(
        out + (static_cast<int64_t>(work.sequence) * sizes.queries + row) * dim + work.head * kHeadColumns,
        dim, count, kChunksPerRow, reinterpret_cast<float(&)[kChunksPerRow][4]>(sums), inverse);
  }
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
  Sizes sizes{
      static_cast<int>(a.queries), static_cast<int>(a.keys), static_cast<int>(a.heads), 0, 0, a.q_batch == 0};
  sizes.query_blocks = static_cast<int>(blocks_for(a.queries, kRows));
  sizes.works = static_cast<int>(blocks_for(a.batch * a.heads * sizes.query_blocks, 1));
  const Context& context = current_context();
  const int64_t blocks = context.persistent_blocks(sizes.works, kResident * context.multiprocessors());
  launch_kernel(attention_forward_sm90_kernel<T>,
                {dim3(static_cast<unsigned>(blocks)), kThreads, sizeof(Shared)}, map(a.q, q_shape(a)),
                map(a.k, kv_shape(a)), map(a.v, kv_shape(a)), static_cast<T*>(a.out), a.log_sum, sizes,
                1.0f / std::sqrt(static_cast<float>(a.head_size)));
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
