// Attention on the CPU, forward. A thread takes one head of one sequence, packs its keys (transposed) and
// values as float32, and goes through its queries in blocks: logits, softmax over whole rows and the weighted
// sum of values stay in cache. bfloat16 is storage only.
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "cpu/attention_tile.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

// Logits / scale in x to exp(logit - largest), 0 from `count` to `width`, a multiple of kTileLanes. Returns
// the sum.
SIMD_CLONES float exponentiate(float* x, float scale, int64_t count, int64_t width, float* largest_logit) {
  for (int64_t i = count; i < width; ++i) x[i] = kMasked;
  float largest = kMasked;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < width; ++i) largest = x[i] > largest ? x[i] : largest;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) {
    const float e = vector_exp((x[i] - largest) * scale);
    x[i] = e;
    sum += e;
  }
  *largest_logit = largest * scale;
  return sum;
}

void forward_head(const AttentionArgs& a, Head head) {
  const int64_t width = pad_to_lanes(a.head_size), padded_keys = pad_to_lanes(a.keys);
  const int64_t column = head.index * a.head_size, dim = a.heads * a.head_size;
  const int64_t kv = head.sequence * a.kv_batch + column;
  float* keys = tile_buffer(0, width * padded_keys);
  float* values = tile_buffer(1, packed_size(a.keys, a.head_size));
  float* queries = tile_buffer(2, packed_size(kQueryBlock, a.head_size));
  float* weights = tile_buffer(3, kQueryBlock * padded_keys);
  pack_rows(advance(a.k, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, values);
  transpose_rows(values, a.keys, width, keys);
  pack_rows(advance(a.v, a.dtype, kv), a.dtype, a.kv_row, a.keys, a.head_size, values);
  const Head next = head_after(a, head);
  const int64_t next_q = next.sequence * a.q_batch + next.index * a.head_size,
                next_kv = next.sequence * a.kv_batch + next.index * a.head_size;
  RowFetcher fetcher(a.dtype, a.head_size, a.queries);
  fetcher.add(advance(a.q, a.dtype, next_q), a.q_row, a.queries);
  fetcher.add(advance(a.k, a.dtype, next_kv), a.kv_row, a.keys);
  fetcher.add(advance(a.v, a.dtype, next_kv), a.kv_row, a.keys);
  const float scale = 1.0f / std::sqrt(static_cast<float>(a.head_size));
  for_query_blocks(a.queries, [&](int64_t first, int64_t count) {
    const int64_t seen = a.causal ? std::min(a.keys, first + count) : a.keys, seen_width = pad_to_lanes(seen);
    pack_rows(advance(a.q, a.dtype, head.sequence * a.q_batch + first * a.q_row + column), a.dtype, a.q_row,
              count, a.head_size, queries);
    tile_product(
        {count, seen_width, width, queries, width, 1, keys, padded_keys, weights, padded_keys, false});
    float inverse[kQueryBlock];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t visible = a.causal ? std::min(a.keys, first + i + 1) : a.keys;
      fetcher.advance(first + i);
      float largest;
      const float sum = exponentiate(weights + i * padded_keys, scale, visible, seen_width, &largest);
      a.log_sum[(head.sequence * a.heads + head.index) * a.queries + first + i] = largest + std::log(sum);
      inverse[i] = 1.0f / sum;
    }
    tile_product({count, width, seen, weights, padded_keys, 1, values, width, queries, width, false});
    unpack_rows(queries, count, a.head_size, inverse,
                advance(a.out, a.dtype, (head.sequence * a.queries + first) * dim + column), a.dtype, dim);
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
