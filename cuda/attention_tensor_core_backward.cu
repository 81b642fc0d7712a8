// Attention backward with tensor cores (mma.sync m16n8k16), bfloat16 or float16 with float32 sums, in one
// kernel and without atomics. With weights p = exp(scale q kᵀ - log_sum), dp = dout vᵀ and delta = sum(out
// dout) of a query:
//   ds = p (dp - delta),  dq = scale ds k,  dk = scale dsᵀ q,  dv = pᵀ dout.
//
// A thread block takes one head of one sequence. Its warps own 32 keys each, whose rows of k and v stay in
// registers as left operands and whose dk and dv are summed in registers, while queries come by in blocks of
// 32: a warp makes pᵀ and dsᵀ of its keys, uses both straight from registers as left operands for dv and dk,
// and puts dsᵀ into shared memory. When all warps have, they share out dq of the block, [32, 64] as eight
// units of [16, 16], each summed over all keys. dq of one block is made after the barrier that lets the next
// one begin, so there is one barrier per block. q, dout and out of the next block, and k and v of the block's
// next head, arrive meanwhile.
//
// Up to 256 keys (8 warps) are done at once. More keys take several passes over the queries, with dq summed
// in float32 by the thread block that owns it, in its own piece of scratch memory (which stays in the L2
// cache). Where all sequences have the same queries, dq of every sequence goes to scratch and a second kernel
// adds them in order.
//
// Floor: 10 queries keys 64 FLOP per head on the tensor cores and queries keys exponentials; reads q, k, v,
// out, dout, writes dq, dk, dv once. dk and dv of 32 keys take 128 registers, k and v 64: 8 warps fill a
// multiprocessor.
#include <primitives/launch.h>

#include <algorithm>

#include "attention_backward_tile.cuh"
#include "common/vector.cuh"

namespace native {
namespace {

using namespace cuda;
using namespace cuda::attention;

// dq of a block of queries from the keys of this step, whose dsᵀ lie in `dlogits` [keys, 32].
template <class T>
__device__ __forceinline__ void query_gradients(const AttentionBackwardArgs& args, const Plan& plan,
                                                Step step, int block, const T* dlogits, const T* keys,
                                                int warp) {
  const AttentionArgs& a = args.forward;
  const int lane = lane_index(), first_key = step.first_key(plan), first = block * kBlock;
  const int seen = a.causal ? smaller(static_cast<int>(a.keys), first + kBlock) : static_cast<int>(a.keys);
  const int count = smaller(seen - first_key, plan.warps * kWarpKeys);
  const bool last = step.pass == (seen - 1) / (plan.warps * kWarpKeys);
  if (count <= 0) return;
  for (int unit = warp; unit < kUnits; unit += plan.warps) {
    const int row = unit % 2 * 16, column_step = unit / 2;
    // 16 keys further on is the same place of the permutation: found once, as four products are little work.
    const T* left_chunk = left_transposed_chunk(dlogits, row);
    const T* keys_chunk = right_chunk(keys, 0, column_step);
    const auto add_keys = [&](float(&sums)[2][4], int key) {
      uint32_t left[4];
      load_matrix_x4_transposed(left, left_chunk + key * kBlock);
      const RightPair right = load_right_chunk(keys_chunk + key * kHeadColumns);
      mma<T>(sums[0], left, right.first);
      mma<T>(sums[1], left, right.second);
    };
    // A product waits for the one before it in the same sums: every other 16 keys have sums of their own.
    float dq[2][4] = {}, odd[2][4] = {};
    int key = 0;
    for (; key + 16 < count; key += 32) {
      add_keys(dq, key);
      add_keys(odd, key + 16);
    }
    if (key < count) add_keys(dq, key);
#pragma unroll
    for (int i = 0; i < 8; ++i) dq[i / 4][i % 4] += odd[i / 4][i % 4];
    const bool whole = last && !plan.shared_queries;
    if (plan.passes > 1 || plan.shared_queries) {
      const int64_t place = plan.shared_queries ? step.item : static_cast<int>(blockIdx.x);
      float4* partial =
          plan.partial + (place * plan.blocks + block) * kPartialWords + unit * 2 * kWarpSize + lane;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        if (step.pass > 0) {
          const float4 before = partial[n * kWarpSize];
          dq[n][0] += before.x, dq[n][1] += before.y, dq[n][2] += before.z, dq[n][3] += before.w;
        }
        if (!whole) partial[n * kWarpSize] = {dq[n][0], dq[n][1], dq[n][2], dq[n][3]};
      }
    }
    if (!whole) continue;
    uint32_t words[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const float(&d)[4] = dq[word % 2];
      words[word] = pack2<T>(d[word / 2 * 2] * plan.scale, d[word / 2 * 2 + 1] * plan.scale);
    }
    transpose_quad(words);
    const int query = first + row + lane / 4 + lane % 4 / 2 * 8, chunk = 2 * column_step + lane % 2;
    if (query < a.queries && chunk * 8 < a.head_size) {
      T* target = static_cast<T*>(args.dq) + step.sequence(a) * a.q_batch + query * a.q_row +
                  step.head(a) * a.head_size + chunk * 8;
      store_vector(reinterpret_cast<uint4*>(target), uint4{words[0], words[1], words[2], words[3]});
    }
  }
}

// Zeros into the rows of dq that do not ask.
template <class T>
__device__ __forceinline__ void clear_idle_rows(const AttentionBackwardArgs& args, Step step) {
  const AttentionArgs& a = args.forward;
  const int head_chunks = static_cast<int>(a.head_size) / 8;
  const int chunks = static_cast<int>(args.dq_rows - a.queries) * head_chunks;
  T* base = static_cast<T*>(args.dq) + step.sequence(a) * a.q_batch + step.head(a) * a.head_size;
  for (int i = static_cast<int>(threadIdx.x); i < chunks; i += static_cast<int>(blockDim.x)) {
    const int64_t row = a.queries + i / head_chunks;
    store_vector(reinterpret_cast<uint4*>(base + row * a.q_row + i % head_chunks * 8), uint4{0, 0, 0, 0});
  }
}

// Grid: as many thread blocks as stay resident, each taking items blockIdx.x, blockIdx.x + gridDim.x, ...
template <class T>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize, 1)
    attention_backward_kernel(AttentionBackwardArgs args, Plan plan) {
  wait_for_previous_grid();
  const AttentionArgs& a = args.forward;
  const Shared<T> shared(plan);
  const int warp = warp_index(), tile_rows = plan.warps * kWarpKeys;
  const bool ahead = plan.slots == 2;  // a step's keys arrive during the step before
  int slot = 0, stage = 0;

  Step step = Step::first_of(a, static_cast<int>(blockIdx.x));
  copy_queries(args, step, step.first_block(a, plan), shared.stage[stage]);
  copy_keys(a, plan, step, shared.keys, 0, step.padded_keys(a, plan));
  if (warp == 0)
    shared.facts[stage].values[lane_index()][0] = load_log_sum(a, step, step.first_block(a, plan));
  for (Step next = step.next(a, plan); step.exists(plan); step = next, next = step.next(a, plan)) {
    T* keys = shared.keys + slot * 2 * tile_rows * kHeadColumns;
    slot ^= plan.slots - 1;
    const auto next_keys = [&] { return shared.keys + slot * 2 * tile_rows * kHeadColumns; };
    if (step.pass == 0) clear_idle_rows<T>(args, step);

    const int first_block = step.first_block(a, plan);
    const int key = step.first_key(plan) + warp * kWarpKeys, key_end = static_cast<int>(a.keys);
    Keys own;
    for (int block = first_block; block < plan.blocks; ++block, stage ^= 1) {
      copy_async_commit();
      copy_async_wait<0>();
      find_deltas(shared.stage[stage], shared.facts[stage]);
      block_barrier();
      // What the other stage held, the block before, is done with, but for its dsᵀ.
      float next_log_sum = 0;
      if (block + 1 < plan.blocks || next.exists(plan)) {
        const bool same = block + 1 < plan.blocks;
        const Step following = same ? step : next;
        const int following_block = same ? block + 1 : next.first_block(a, plan);
        copy_queries(args, following, following_block, shared.stage[stage ^ 1]);
        if (warp == 0) next_log_sum = load_log_sum(a, following, following_block);
      }
      if (ahead && next.exists(plan)) {  // an even share of the rows, in eights
        const int eights = next.padded_keys(a, plan) / 8;
        const int blocks = plan.blocks - first_block, done = block - first_block;
        copy_keys(a, plan, next, next_keys(), eights * done / blocks * 8, eights * (done + 1) / blocks * 8);
      }

      if (block > first_block) {
        query_gradients(args, plan, step, block - 1, shared.dlogits + (block - 1) % 2 * tile_rows * kBlock,
                        keys, warp);
      } else if (key < key_end) {
#pragma unroll
        for (int t = 0; t < 2; ++t) {
#pragma unroll
          for (int column_step = 0; column_step < kColumnSteps; ++column_step) {
            load_left(own.k[t][column_step], keys, warp * kWarpKeys + 16 * t, column_step);
            load_left(own.v[t][column_step], keys + tile_rows * kHeadColumns, warp * kWarpKeys + 16 * t,
                      column_step);
          }
        }
      }
      if (warp == 0) shared.facts[stage ^ 1].values[lane_index()][0] = next_log_sum;
      if (key < key_end && !(a.causal && block * kBlock + kBlock <= key)) {
        T* dlogits = shared.dlogits + (block % 2 * tile_rows + warp * kWarpKeys) * kBlock;
#pragma unroll 1
        for (int row = 0; row < kBlock; row += 16) {
          visit_queries(own, shared.stage[stage], shared.facts[stage], dlogits, row, block * kBlock + row,
                        key, key_end, a.causal, plan.scale * kLog2E);
        }
      }
    }
    block_barrier();
    query_gradients(args, plan, step, plan.blocks - 1,
                    shared.dlogits + (plan.blocks - 1) % 2 * tile_rows * kBlock, keys, warp);
    if (!ahead && next.exists(plan)) {
      block_barrier();  // all warps are done with these keys
      copy_keys(a, plan, next, next_keys(), 0, next.padded_keys(a, plan));
    }
    if (key >= key_end) continue;

    const int64_t at = step.sequence(a) * a.kv_batch + key * a.kv_row + step.head(a) * a.head_size;
    const int head_chunks = static_cast<int>(a.head_size) / 8;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const int64_t from = at + 16 * t * a.kv_row;
      const int rows = key_end - key - 16 * t;
      store_result(static_cast<T*>(args.dk) + from, a.kv_row, rows, head_chunks, own.dk[t],
                   {plan.scale, plan.scale});
      store_result(static_cast<T*>(args.dv) + from, a.kv_row, rows, head_chunks, own.dv[t], {1, 1});
    }
  }
}

// dq of queries that all sequences share: the sum over the batch, in order, of what each gave. A thread per
// float4 of the partial sums of a head.
template <class T>
__global__ void attention_sum_queries_kernel(AttentionBackwardArgs args, const float4* partial, int blocks,
                                             float scale) {
  wait_for_previous_grid();
  const AttentionArgs& a = args.forward;
  const int64_t words = int64_t{blocks} * kPartialWords;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= a.heads * words) return;
  float4 sum = {0, 0, 0, 0};
  for (int64_t sequence = 0; sequence < a.batch; ++sequence) {
    const float4 x = partial[sequence * a.heads * words + index];
    sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
  }
  const int lane = static_cast<int>(index) % kWarpSize, n = static_cast<int>(index / kWarpSize % 2),
            unit = static_cast<int>(index / (2 * kWarpSize) % kUnits);
  const int64_t head = index / words, block = index % words / kPartialWords;
  const int64_t query = block * kBlock + unit % 2 * 16 + lane / 4;
  const int column = unit / 2 * 16 + 8 * n + lane % 4 * 2;
  T* row = static_cast<T*>(args.dq) + query * a.q_row + head * a.head_size + column;
  if (column >= a.head_size) return;
  if (query < a.queries) *reinterpret_cast<uint32_t*>(row) = pack2<T>(sum.x * scale, sum.y * scale);
  if (query + 8 < a.queries) {
    *reinterpret_cast<uint32_t*>(row + 8 * a.q_row) = pack2<T>(sum.z * scale, sum.w * scale);
  }
}

// The most keys per pass that the device's shared memory allows: all of them up to 8 warps, else passes of up
// to 4 warps, of which two thread blocks share a multiprocessor. Where there is no room for two, one block
// has as many warps as fit.
Plan make_plan(const AttentionArgs& a) {
  const size_t limit = current_context().shared_bytes_limit();
  const int tiles = static_cast<int>(blocks_for(a.keys, kWarpKeys));
  Plan plan{};
  const bool pairs = 2 * shared_bytes(kMaxWarps / 2, 1) <= limit;
  // More than half of the warps: all of them, for dq's eight units.
  plan.warps = tiles <= kMaxWarps / 2 ? tiles : tiles <= kMaxWarps || !pairs ? kMaxWarps : kMaxWarps / 2;
  while (plan.warps > 1 && shared_bytes(plan.warps, 1) > limit) --plan.warps;
  plan.passes = static_cast<int>(blocks_for(tiles, plan.warps));
  if (plan.passes > 1) plan.warps = static_cast<int>(blocks_for(tiles, plan.passes));
  // Small thread blocks wait for their keys while others compute.
  plan.slots = plan.warps > kMaxWarps / 2 && shared_bytes(plan.warps, 2) <= limit ? 2 : 1;
  plan.blocks = static_cast<int>(blocks_for(a.queries, kBlock));
  plan.items = static_cast<int>(a.batch * a.heads);
  plan.scale = 1.0f / std::sqrt(static_cast<float>(a.head_size));
  plan.shared_queries = a.q_batch == 0;
  return plan;
}

template <class T>
void backward(const AttentionBackwardArgs& args) {
  const AttentionArgs& a = args.forward;
  Plan plan = make_plan(a);
  const size_t bytes = shared_bytes(plan.warps, plan.slots);
  const Context& context = current_context();
  const int per_multiprocessor =
      std::min<int>(kMaxWarps / plan.warps, static_cast<int>(context.shared_bytes_limit() / bytes));
  const int64_t grid = context.persistent_blocks(plan.items, context.multiprocessors() * per_multiprocessor);
  const int64_t places = plan.shared_queries ? plan.items : plan.passes > 1 ? grid : 0;
  const Scratch partial(static_cast<size_t>(places * plan.blocks * kPartialWords) * sizeof(float4));
  plan.partial = partial.data<float4>();
  launch_kernel(attention_backward_kernel<T>, {static_cast<unsigned>(grid), plan.warps * kWarpSize, bytes},
                args, plan);
  if (plan.shared_queries) {
    launch_kernel(attention_sum_queries_kernel<T>,
                  {blocks_for(a.heads * plan.blocks * kPartialWords, 256), 256}, args, plan.partial,
                  plan.blocks, plan.scale);
  }
}

}  // namespace

void cuda::attention_backward_tensor_cores(const AttentionBackwardArgs& args) {
  args.forward.dtype == DType::float16 ? backward<float16>(args) : backward<bfloat16>(args);
}

}  // namespace native
