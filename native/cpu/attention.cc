// Attention on the CPU, forward. A thread takes one head of one sequence, transposes its keys, and goes
// through its queries in blocks: logits, softmax over whole rows and the weighted sum of values stay in
// cache. Queries, values and the result are read and written where they are, unless they are bfloat16, which
// is storage only, or of a size that vectors do not divide: those pass through packed rows.
#include <cmath>

#include "core/parallel.h"
#include "cpu/attention_tile.h"

namespace native {
namespace {

void forward_head(const AttentionArgs& a, Head head) {
  const int64_t width = pad_to_lanes(a.head_size), padded_keys = pad_to_lanes(a.keys);
  const int64_t column = head.index * a.head_size, dim = a.heads * a.head_size;
  const int64_t kv = head.sequence * a.kv_batch + column;
  const bool in_place = is_tile(a.dtype, a.head_size);
  float* keys = tile_buffer(0, width * padded_keys);
  float* packed = tile_buffer(1, in_place ? 0 : a.keys * width);
  float* block = tile_buffer(2, in_place ? 0 : kQueryBlock * width);
  float* weights = tile_buffer(3, kQueryBlock * padded_keys);
  transpose_rows(rows_of(advance(a.k, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, packed), a.keys,
                 width, keys);
  const FloatRows values = rows_of(advance(a.v, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, packed);
  const Head next = head_after(a, head);
  const int64_t next_q = next.sequence * a.q_batch + next.index * a.head_size,
                next_kv = next.sequence * a.kv_batch + next.index * a.head_size;
  RowFetcher fetcher(a.dtype, a.head_size, 2 * query_blocks(a.queries));
  fetcher.add(advance(a.q, a.dtype, next_q), a.q_row, a.queries);
  fetcher.add(advance(a.k, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(a.v, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(a.out, a.dtype, head.sequence * a.queries * dim + column), dim, a.queries, true);
  const float scale = 1.0f / std::sqrt(static_cast<float>(a.head_size));
  float* log_sum = a.log_sum + (head.sequence * a.heads + head.index) * a.queries;
  for_query_blocks(a.queries, [&](int64_t first, int64_t count) {
    const int64_t seen = a.causal ? std::min(a.keys, first + count) : a.keys;
    const FloatRows queries =
        rows_of(advance(a.q, a.dtype, head.sequence * a.q_batch + first * a.q_row + column), a.dtype, a.q_row,
                count, a.head_size, block);
    fetcher.advance();
    tile_product({count, pad_to_columns(seen), width, queries.x, queries.stride, 1, keys, padded_keys,
                  weights, padded_keys, false});
    float inverse[kQueryBlock];
    row_softmax({seen_rows(a, first, count, padded_keys), weights, scale, inverse, log_sum + first});
    void* out = advance(a.out, a.dtype, (head.sequence * a.queries + first) * dim + column);
    float* sums = in_place ? static_cast<float*>(out) : block;
    fetcher.advance();
    tile_product({count, width, seen, weights, padded_keys, 1, values.x, values.stride, sums,
                  in_place ? dim : width, false, inverse});
    if (!in_place) unpack_rows(block, count, a.head_size, out, a.dtype, dim);
  });
}

void forward(const AttentionArgs& a) {
  parallel_for(a.batch * a.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) forward_head(a, {i / a.heads, i % a.heads});
  });
}

REGISTER_KERNEL(attention_forward, cpu, forward);

}  // namespace
}  // namespace native
