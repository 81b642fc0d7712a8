// Attention backward in float32 arithmetic, for float32 operands and for whatever the tensor-core kernel does
// not take. With weights p = exp(scale q kᵀ - log_sum), dp = dout vᵀ and delta = sum(out dout) of a query:
//   ds = p (dp - delta),  dq = scale ds k,  dk = scale dsᵀ q,  dv = pᵀ dout.
// Three kernels: delta of every query; dk and dv by blocks that own 64 keys and go through the queries; dq by
// blocks that own 32 queries and go through the keys. The last two compute p and ds anew, so nothing is added
// up across blocks and the order of every sum is fixed. Heads of more than 64 columns repeat p and ds for
// every 64 columns of the results.
//
// Floor: 10 queries keys head_size FLOP per head (14 here, p and ds twice) on the float32 units; reads q, k,
// v, out, dout, writes dq, dk, dv once.
#include <primitives/launch.h>

#include <algorithm>

#include "attention_scalar.cuh"
#include "common/dtype.h"
#include "common/team.cuh"

namespace native {
namespace {

using namespace cuda;
using namespace cuda::attention;

constexpr int kQueries = 32, kKeys = 64, kPer = kQueries / kScalarSide;

struct BackwardShared {
  ScalarTile<kQueries> q, dout, weights, slopes;
  ScalarTile<kKeys> k, v;
};

// What a block needs of one head of one sequence.
template <class T>
struct Head {
  ScalarRows<T> q, k, v, dout;
  const float *log_sum, *delta;  // of the batch
  int64_t row;                   // of the head's first query in both
  float scale;
  int chunks;
  bool causal;
};

template <class T>
__device__ __forceinline__ Head<T> head_of(const AttentionBackwardArgs& args, const float* delta, float scale,
                                           int chunks, bool vectors, int64_t sequence, int head) {
  const AttentionArgs& a = args.forward;
  const int queries = static_cast<int>(a.queries), keys = static_cast<int>(a.keys),
            size = static_cast<int>(a.head_size);
  const int q_row = static_cast<int>(a.q_row), kv_row = static_cast<int>(a.kv_row),
            dim = static_cast<int>(a.heads * a.head_size);
  const int64_t column = head * a.head_size, kv = sequence * a.kv_batch + column;
  const int64_t row = (sequence * a.heads + head) * a.queries;
  return {
      {static_cast<const T*>(a.q) + sequence * a.q_batch + column, q_row, queries, size, vectors},
      {static_cast<const T*>(a.k) + kv, kv_row, keys, size, vectors},
      {static_cast<const T*>(a.v) + kv, kv_row, keys, size, vectors},
      {static_cast<const T*>(args.dout) + sequence * a.queries * dim + column, dim, queries, size, vectors},
      a.log_sum,
      delta,
      row,
      scale,
      chunks,
      a.causal};
}

// p and ds of 32 queries x 64 keys into shared memory. `fresh` says which operands are not there yet from the
// last call. Of every operand it leaves the columns of chunk `own` in its tile: that one comes last.
template <class T>
__device__ __forceinline__ void weights_and_slopes(BackwardShared& shared, const Head<T>& head, int own,
                                                   int query, int key, bool fresh_queries, bool fresh_keys) {
  float logits[kPer][4] = {}, dweights[kPer][4] = {};
#pragma unroll 1
  for (int turn = 1; turn <= head.chunks; ++turn) {
    const int column = (own + turn) % head.chunks * kScalarColumns;
    block_barrier();  // what used the tiles is done
    if (fresh_queries || head.chunks > 1) {
      load_tile(shared.q, head.q, query, column);
      load_tile(shared.dout, head.dout, query, column);
    }
    if (fresh_keys || head.chunks > 1) {
      load_tile(shared.k, head.k, key, column);
      load_tile(shared.v, head.v, key, column);
    }
    block_barrier();
    add_dots<kPer>(shared.q, shared.k, logits);
    add_dots<kPer>(shared.dout, shared.v, dweights);
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int row = thread_y() * kPer + i, at = query + row;
    const bool exists = at < head.q.count;
    const float log_sum = exists ? head.log_sum[head.row + at] : 0,
                delta = exists ? head.delta[head.row + at] : 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int other = thread_x() + kScalarSide * j;
      const bool seen = exists && key + other < head.k.count && !(head.causal && key + other > at);
      const float weight = seen ? expf(logits[i][j] * head.scale - log_sum) : 0;
      shared.weights.rows[row][other] = weight;
      shared.slopes.rows[row][other] = seen ? weight * (dweights[i][j] - delta) : 0;
    }
  }
  block_barrier();
}

// delta [batch, heads, queries], a warp per value.
template <class T>
__global__ void attention_delta_kernel(const T* out, const T* dout, float* delta, int64_t rows, int queries,
                                       int heads, int size) {
  wait_for_previous_grid();
  const int64_t row = Team<1>::row();  // of [batch, queries, heads]
  if (row >= rows) return;
  float sum = 0;
  for (int d = lane_index(); d < size; d += kWarpSize) {
    sum = fmaf(to_float(out[row * size + d]), to_float(dout[row * size + d]), sum);
  }
  sum = warp_reduce(Add{}, sum);
  const int64_t head = row % heads, query = row / heads % queries, sequence = row / heads / queries;
  if (lane_index() == 0) delta[(sequence * heads + head) * queries + query] = sum;
}

// Grid: key tiles x column chunks x heads x batch.
template <class T>
__global__ void __launch_bounds__(kScalarThreads, 2)
    attention_key_gradients_kernel(AttentionBackwardArgs args, const float* delta, float scale, int tiles,
                                   int chunks, bool vectors) {
  wait_for_previous_grid();
  BackwardShared& shared = shared_memory<BackwardShared>();
  const AttentionArgs& a = args.forward;
  int block = static_cast<int>(blockIdx.x);
  const int first = block % tiles * kKeys;
  block /= tiles;
  const int chunk = block % chunks, column = chunk * kScalarColumns;
  block /= chunks;
  const int index = block % static_cast<int>(a.heads);
  const int64_t sequence = block / static_cast<int>(a.heads);
  const Head<T> head = head_of<T>(args, delta, scale, chunks, vectors, sequence, index);

  float dk[4][4] = {}, dv[4][4] = {};
  const int start = a.causal ? first / kQueries * kQueries : 0;  // of the queries that see one of the keys
#pragma unroll 1
  for (int query = start; query < head.q.count; query += kQueries) {
    weights_and_slopes(shared, head, chunk, query, first, true, query == start);
    add_transposed_product(shared.weights, shared.dout, dv);
    add_transposed_product(shared.slopes, shared.q, dk);
  }
  const int64_t base = sequence * a.kv_batch + index * a.head_size;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int key = first + thread_y() * 4 + i;
    if (key >= head.k.count) continue;
    store_columns(static_cast<T*>(args.dk) + base + key * a.kv_row, column, head.k.columns, dk[i], scale);
    store_columns(static_cast<T*>(args.dv) + base + key * a.kv_row, column, head.k.columns, dv[i], 1.0f);
  }
}

// Grid: tiles of dq's rows x column chunks x heads x batch. Where all sequences have the same queries a block
// goes through them in order, and there is one for the batch.
template <class T>
__global__ void __launch_bounds__(kScalarThreads, 2)
    attention_query_gradients_kernel(AttentionBackwardArgs args, const float* delta, float scale, int tiles,
                                     int chunks, bool vectors) {
  wait_for_previous_grid();
  BackwardShared& shared = shared_memory<BackwardShared>();
  const AttentionArgs& a = args.forward;
  int block = static_cast<int>(blockIdx.x);
  const int first = block % tiles * kQueries;
  block /= tiles;
  const int chunk = block % chunks, column = chunk * kScalarColumns;
  block /= chunks;
  const int index = block % static_cast<int>(a.heads);
  const int64_t own = block / static_cast<int>(a.heads), sequences = a.q_batch == 0 ? a.batch : own + 1;

  float dq[kPer][4] = {};  // stays 0 in the rows that do not ask
  for (int64_t sequence = own; sequence < sequences; ++sequence) {
    const Head<T> head = head_of<T>(args, delta, scale, chunks, vectors, sequence, index);
    const int seen = a.causal ? std::min(head.k.count, first + kQueries) : head.k.count;
    if (first >= head.q.count) break;
    for (int key = 0; key < seen; key += kKeys) {
      weights_and_slopes(shared, head, chunk, first, key, key == 0, true);
      add_product<kPer>(shared.slopes, shared.k, dq);
    }
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int64_t query = first + thread_y() * kPer + i;
    if (query >= args.dq_rows) continue;
    T* row = static_cast<T*>(args.dq) + own * a.q_batch + query * a.q_row + index * a.head_size;
    store_columns(row, column, static_cast<int>(a.head_size), dq[i], scale);
  }
}

}  // namespace

void cuda::attention_backward_scalar(const AttentionBackwardArgs& args) {
  const AttentionArgs& a = args.forward;
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t rows = a.batch * a.queries * a.heads;
    const Scratch delta(static_cast<size_t>(rows) * sizeof(float));
    launch_kernel(attention_delta_kernel<T>, {blocks_for(rows, kTeamWarps), kTeamThreads},
                  static_cast<const T*>(a.out), static_cast<const T*>(args.dout), delta.data<float>(), rows,
                  a.queries, a.heads, a.head_size);

    const bool vectors = rows_in_fours(a) && aligned({args.dout});
    const unsigned chunks = blocks_for(a.head_size, kScalarColumns), key_tiles = blocks_for(a.keys, kKeys);
    launch_kernel(
        attention_key_gradients_kernel<T>,
        {blocks_for(a.batch * a.heads * chunks * key_tiles, 1), kScalarThreads, sizeof(BackwardShared)}, args,
        delta.data<float>(), logit_scale(a), key_tiles, chunks, vectors);
    const unsigned query_tiles = blocks_for(args.dq_rows, kQueries);
    const int64_t sequences = a.q_batch == 0 ? 1 : a.batch;
    launch_kernel(
        attention_query_gradients_kernel<T>,
        {blocks_for(sequences * a.heads * chunks * query_tiles, 1), kScalarThreads, sizeof(BackwardShared)},
        args, delta.data<float>(), logit_scale(a), query_tiles, chunks, vectors);
  });
}

}  // namespace native
