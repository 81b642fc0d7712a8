// Attention on the CPU, backward, organised as the forward. With weights p = exp(scale q kᵀ - log_sum) and
// dp = dout vᵀ:
//   ds = scale p (dp - sum(p dp)),  dq = ds k,  dk = dsᵀ q,  dv = pᵀ dout.
#include <cmath>
#include <cstring>

#include "core/parallel.h"
#include "cpu/attention_tile.h"

namespace native {
namespace {

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
  float* packed_queries = tile_buffer(3, in_place ? 0 : kQueryBlock * width);
  float* packed_dout = tile_buffer(4, in_place ? 0 : kQueryBlock * width);
  float* weights = tile_buffer(5, kQueryBlock * padded_keys);
  float* dlogits = tile_buffer(6, kQueryBlock * padded_keys);
  void* dk = advance(args.dk, a.dtype, kv);
  void* dv = advance(args.dv, a.dtype, kv);
  float* dkeys = in_place ? static_cast<float*>(dk) : tile_buffer(7, a.keys * width);
  float* dvalues = in_place ? static_cast<float*>(dv) : tile_buffer(8, a.keys * width);
  const int64_t dkv_row = in_place ? a.kv_row : width;
  transpose_rows(rows_of(advance(a.v, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, packed), a.keys,
                 width, values_transposed);
  const FloatRows keys = rows_of(advance(a.k, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, packed);
  transpose_rows(keys, a.keys, width, keys_transposed);
  // The first block of queries writes the sums that later ones are added to, unless it does not see all keys.
  for (int64_t row = 0; a.causal && row < a.keys; ++row) {
    std::fill_n(dkeys + row * dkv_row, width, 0.0f);
    std::fill_n(dvalues + row * dkv_row, width, 0.0f);
  }
  const Head next = head_after(a, head);
  const int64_t next_q = next.sequence * a.q_batch + next.index * a.head_size,
                next_kv = next.sequence * a.kv_batch + next.index * a.head_size,
                next_dout = next.sequence * a.queries * dim + next.index * a.head_size;
  RowFetcher fetcher(a.dtype, a.head_size, 4 * query_blocks(a.queries));
  fetcher.add(advance(a.q, a.dtype, next_q), a.q_row, a.queries);
  fetcher.add(advance(a.k, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(a.v, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(args.dout, a.dtype, next_dout), dim, a.queries);
  if (!dq_sum) {
    fetcher.add(advance(args.dq, a.dtype, head.sequence * a.q_batch + column), a.q_row, a.queries, true);
  }
  fetcher.add(dk, a.kv_row, a.keys, true);
  fetcher.add(dv, a.kv_row, a.keys, true);
  const float scale = 1.0f / std::sqrt(static_cast<float>(a.head_size));
  for_query_blocks(a.queries, [&](int64_t first, int64_t count) {
    const int64_t seen = a.causal ? std::min(a.keys, first + count) : a.keys, columns = pad_to_columns(seen);
    const bool adds = a.causal || first > 0;
    const int64_t q = head.sequence * a.q_batch + first * a.q_row + column;
    const FloatRows queries =
        rows_of(advance(a.q, a.dtype, q), a.dtype, a.q_row, count, a.head_size, packed_queries);
    const FloatRows dout =
        rows_of(advance(args.dout, a.dtype, (head.sequence * a.queries + first) * dim + column), a.dtype, dim,
                count, a.head_size, packed_dout);
    fetcher.advance();
    tile_product({count, columns, width, queries.x, queries.stride, 1, keys_transposed, padded_keys, weights,
                  padded_keys, false});
    fetcher.advance();
    tile_product({count, columns, width, dout.x, dout.stride, 1, values_transposed, padded_keys, dlogits,
                  padded_keys, false});
    row_softmax_backward({seen_rows(a, first, count, padded_keys), weights, dlogits, scale,
                          a.log_sum + (head.sequence * a.heads + head.index) * a.queries + first});
    fetcher.advance();
    tile_product({seen, width, count, weights, 1, padded_keys, dout.x, dout.stride, dvalues, dkv_row, adds});
    fetcher.advance();
    tile_product(
        {seen, width, count, dlogits, 1, padded_keys, queries.x, queries.stride, dkeys, dkv_row, adds});
    void* dq = advance(args.dq, a.dtype, q);
    float* dqueries = dq_sum ? dq_sum + first * width : in_place ? static_cast<float*>(dq) : packed_queries;
    tile_product({count, width, seen, dlogits, padded_keys, 1, keys.x, keys.stride, dqueries,
                  in_place && !dq_sum ? a.q_row : width, dq_sum != nullptr});
    if (!in_place && !dq_sum) unpack_rows(dqueries, count, a.head_size, dq, a.dtype, a.q_row);
  });
  if (!in_place) {
    unpack_rows(dkeys, a.keys, a.head_size, dk, a.dtype, a.kv_row);
    unpack_rows(dvalues, a.keys, a.head_size, dv, a.dtype, a.kv_row);
  }
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
