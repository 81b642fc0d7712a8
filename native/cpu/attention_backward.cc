// Attention on the CPU, backward, organised as the forward. With weights p = exp(scale q kᵀ - log_sum) and
// dp = dout vᵀ:
//   ds = scale p (dp - sum(p dp)),  dq = ds k,  dk = dsᵀ q,  dv = pᵀ dout.
#include <cmath>
#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "cpu/attention_tile.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

// Logits / scale in s to weights and dp to ds, over `count` elements; 0 in both from there to `width`, a
// multiple of kTileLanes.
SIMD_CLONES void backward_row(float* s, float* dp, float scale, float log_sum, int64_t count, int64_t width) {
  for (int64_t i = count; i < width; ++i) s[i] = -std::numeric_limits<float>::infinity();
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < width; ++i) {
    const float p = vector_exp(s[i] * scale - log_sum);
    s[i] = p;
    dot += p * dp[i];
  }
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) dp[i] = scale * s[i] * (dp[i] - dot);
}

// One head of one sequence. dq rows go to `dq_sum` [queries, width], added, when it is given (queries shared
// by the batch); else to their place.
void backward_head(const AttentionBackwardArgs& args, Head head, float* dq_sum) {
  const AttentionArgs& a = args.forward;
  const int64_t width = pad_to_lanes(a.head_size), padded_keys = pad_to_lanes(a.keys);
  const int64_t column = head.index * a.head_size, dim = a.heads * a.head_size;
  const int64_t kv = head.sequence * a.kv_batch + column;
  const bool in_place = is_tile(a.dtype, a.head_size);
  float* packed = tile_buffer(0, in_place ? 0 : a.keys * width);
  float* keys_transposed = tile_buffer(1, width * padded_keys);
  float* values_transposed = tile_buffer(2, width * padded_keys);
  float* packed_queries = tile_buffer(3, kQueryBlock * width);
  float* packed_dout = tile_buffer(4, in_place ? 0 : kQueryBlock * width);
  float* weights = tile_buffer(5, kQueryBlock * padded_keys);
  float* dlogits = tile_buffer(6, kQueryBlock * padded_keys);
  float* dkeys = tile_buffer(7, a.keys * width);
  float* dvalues = tile_buffer(8, a.keys * width);
  transpose_rows(rows_of(advance(a.v, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, packed), a.keys,
                 width, values_transposed);
  const FloatRows keys = rows_of(advance(a.k, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, packed);
  transpose_rows(keys, a.keys, width, keys_transposed);
  std::fill(dkeys, dkeys + a.keys * width, 0.0f);
  std::fill(dvalues, dvalues + a.keys * width, 0.0f);
  const Head next = head_after(a, head);
  const int64_t next_q = next.sequence * a.q_batch + next.index * a.head_size,
                next_kv = next.sequence * a.kv_batch + next.index * a.head_size,
                next_dout = next.sequence * a.queries * dim + next.index * a.head_size;
  RowFetcher fetcher(a.dtype, a.head_size, a.queries);
  fetcher.add(advance(a.q, a.dtype, next_q), a.q_row, a.queries);
  fetcher.add(advance(a.k, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(a.v, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(args.dout, a.dtype, next_dout), dim, a.queries);
  if (!dq_sum) {
    fetcher.add(advance(args.dq, a.dtype, head.sequence * a.q_batch + column), a.q_row, a.queries, true);
  }
  fetcher.add(advance(args.dk, a.dtype, kv), a.kv_row, a.keys, true);
  fetcher.add(advance(args.dv, a.dtype, kv), a.kv_row, a.keys, true);
  const float scale = 1.0f / std::sqrt(static_cast<float>(a.head_size));
  for_query_blocks(a.queries, [&](int64_t first, int64_t count) {
    const int64_t seen = a.causal ? std::min(a.keys, first + count) : a.keys, seen_width = pad_to_lanes(seen);
    const int64_t q = head.sequence * a.q_batch + first * a.q_row + column;
    const FloatRows queries =
        rows_of(advance(a.q, a.dtype, q), a.dtype, a.q_row, count, a.head_size, packed_queries);
    const FloatRows dout =
        rows_of(advance(args.dout, a.dtype, (head.sequence * a.queries + first) * dim + column), a.dtype, dim,
                count, a.head_size, packed_dout);
    tile_product({count, seen_width, width, queries.x, queries.stride, 1, keys_transposed, padded_keys,
                  weights, padded_keys, false});
    tile_product({count, seen_width, width, dout.x, dout.stride, 1, values_transposed, padded_keys, dlogits,
                  padded_keys, false});
    for (int64_t i = 0; i < count; ++i) {
      const int64_t visible = a.causal ? std::min(a.keys, first + i + 1) : a.keys;
      fetcher.advance();
      backward_row(weights + i * padded_keys, dlogits + i * padded_keys, scale,
                   a.log_sum[(head.sequence * a.heads + head.index) * a.queries + first + i], visible,
                   seen_width);
    }
    tile_product({seen, width, count, weights, 1, padded_keys, dout.x, dout.stride, dvalues, width, true});
    tile_product(
        {seen, width, count, dlogits, 1, padded_keys, queries.x, queries.stride, dkeys, width, true});
    float* dq = dq_sum ? dq_sum + first * width : packed_queries;
    tile_product(
        {count, width, seen, dlogits, padded_keys, 1, keys.x, keys.stride, dq, width, dq_sum != nullptr});
    if (!dq_sum) unpack_rows(dq, count, a.head_size, advance(args.dq, a.dtype, q), a.dtype, a.q_row);
  });
  unpack_rows(dkeys, a.keys, a.head_size, advance(args.dk, a.dtype, kv), a.dtype, a.kv_row);
  unpack_rows(dvalues, a.keys, a.head_size, advance(args.dv, a.dtype, kv), a.dtype, a.kv_row);
  for (int64_t row = a.queries; row < args.dq_rows; ++row) {
    std::memset(advance(args.dq, a.dtype, head.sequence * a.q_batch + row * a.q_row + column), 0,
                static_cast<size_t>(a.head_size) * dtype_size(a.dtype));
  }
}

// Queries shared by the batch: a thread takes a head through all sequences, so that their gradients add up in
// order.
void backward_shared(const AttentionBackwardArgs& args) {
  const AttentionArgs& a = args.forward;
  const int64_t width = pad_to_lanes(a.head_size);
  parallel_for(a.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      float* sum = tile_buffer(9, a.queries * width);
      std::fill(sum, sum + a.queries * width, 0.0f);
      for (int64_t sequence = 0; sequence < a.batch; ++sequence) backward_head(args, {sequence, head}, sum);
      unpack_rows(sum, a.queries, a.head_size, advance(args.dq, a.dtype, head * a.head_size), a.dtype,
                  a.q_row);
    }
  });
}

void backward(const AttentionBackwardArgs& args) {
  const AttentionArgs& a = args.forward;
  if (a.q_batch == 0) return backward_shared(args);
  parallel_for(a.batch * a.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) backward_head(args, {i / a.heads, i % a.heads}, nullptr);
  });
}

REGISTER_KERNEL(attention_backward, cpu, backward);

}  // namespace
}  // namespace native
