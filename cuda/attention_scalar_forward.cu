// Attention forward in float32 arithmetic, for float32 operands and for whatever the tensor-core kernel does
// not take. A block computes 64 queries x 64 columns of one head: it goes through the keys in tiles of 64,
// with the softmax's largest logit and sum carried along (rescaling what was summed when the largest grows),
// so the queries x keys matrix is never stored. Heads of more than 64 columns repeat the logits for every 64
// columns.
//
// Floor: 4 queries keys head_size FLOP per head on the float32 units; reads q, k, v, writes out once.
#include <primitives/launch.h>

#include <limits>

#include "attention_scalar.cuh"
#include "common/dtype.h"

namespace native {
namespace {

using namespace cuda;
using namespace cuda::attention;

constexpr int kQueries = 64, kKeys = 64, kPer = kQueries / kScalarSide;
constexpr float kMasked = -std::numeric_limits<float>::infinity();
// Where the largest logit begins: beside it a logit of -infinity has the weight 0, and a row of nothing else
// has a sum of 0, which makes it NaN.
constexpr float kLowest = std::numeric_limits<float>::lowest();

struct ForwardShared {
  ScalarTile<kQueries> q, weights;
  ScalarTile<kKeys> k, v;
};

// Grid: query tiles x column chunks, heads x batch flattened over x, slowest last.
template <class T>
__global__ void __launch_bounds__(kScalarThreads, 2)
    attention_forward_scalar_kernel(AttentionArgs a, float scale, int query_tiles, int chunks, bool vectors) {
  wait_for_previous_grid();
  ForwardShared& shared = shared_memory<ForwardShared>();
  const int queries = static_cast<int>(a.queries), size = static_cast<int>(a.head_size),
            kv_row = static_cast<int>(a.kv_row);
  int block = static_cast<int>(blockIdx.x);
  const int first = block % query_tiles * kQueries;
  block /= query_tiles;
  const int column = block % chunks * kScalarColumns;
  block /= chunks;
  const int head = block % static_cast<int>(a.heads);
  const int64_t sequence = block / static_cast<int>(a.heads), head_column = static_cast<int64_t>(head) * size;
  const int64_t kv = sequence * a.kv_batch + head_column;
  const int seen =
      static_cast<int>(a.causal && first + kQueries < a.keys ? int64_t{first} + kQueries : a.keys);
  const ScalarRows<T> q{static_cast<const T*>(a.q) + sequence * a.q_batch + head_column,
                        static_cast<int>(a.q_row), queries, size, vectors};
  const ScalarRows<T> k{static_cast<const T*>(a.k) + kv, kv_row, seen, size, vectors};
  const ScalarRows<T> v{static_cast<const T*>(a.v) + kv, kv_row, seen, size, vectors};

  float largest[kPer], sum[kPer], out[kPer][4] = {};
#pragma unroll
  for (int i = 0; i < kPer; ++i) largest[i] = kLowest, sum[i] = 0;
  for (int key = 0; key < seen; key += kKeys) {
    float logits[kPer][4] = {};
    for (int d = 0; d < size; d += kScalarColumns) {
      block_barrier();  // the tiles of the last round are done with
      if (key == 0 || chunks > 1) load_tile(shared.q, q, first, d);
      load_tile(shared.k, k, key, d);
      if (d == 0) load_tile(shared.v, v, key, column);
      block_barrier();
      add_dots<kPer>(shared.q, shared.k, logits);
    }
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int query = first + thread_y() * kPer + i;
      float tile_largest = kMasked;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int at = key + thread_x() + kScalarSide * j;
        if (at >= seen || (a.causal && at > query)) logits[i][j] = kMasked;
        tile_largest = fmaxf(tile_largest, logits[i][j]);
      }
      const float now = fmaxf(largest[i], max_row(tile_largest)), shrink = expf((largest[i] - now) * scale);
      float tile_sum = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float weight = expf((logits[i][j] - now) * scale);
        shared.weights.rows[thread_y() * kPer + i][thread_x() + kScalarSide * j] = weight;
        tile_sum += weight;
      }
      sum[i] = sum[i] * shrink + sum_row(tile_sum);
      largest[i] = now;
#pragma unroll
      for (int c = 0; c < 4; ++c) out[i][c] *= shrink;
    }
    warp_barrier();  // a row's weights are written and read by one warp
    add_product<kPer>(shared.weights, shared.v, out);
  }
  const int64_t dim = a.heads * a.head_size;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int query = first + thread_y() * kPer + i;
    if (query >= queries) continue;
    T* row = static_cast<T*>(a.out) + (sequence * queries + query) * dim + head_column;
    store_columns(row, column, size, out[i], 1.0f / sum[i]);
    if (column == 0 && thread_x() == 0) {
      a.log_sum[(sequence * a.heads + head) * queries + query] = largest[i] * scale + logf(sum[i]);
    }
  }
}

}  // namespace

void cuda::attention_forward_scalar(const AttentionArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const unsigned tiles = blocks_for(a.queries, kQueries), chunks = blocks_for(a.head_size, kScalarColumns);
    launch_kernel(attention_forward_scalar_kernel<T>,
                  {blocks_for(a.batch * a.heads * chunks * tiles, 1), kScalarThreads, sizeof(ForwardShared)},
                  a, logit_scale(a), tiles, chunks, rows_in_fours(a));
  });
}

}  // namespace native
