// What the two directions of attention share: moving the rows of one head between the operands and packed
// float32 tiles.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "cpu/row_softmax.h"
#include "cpu/tile_product.h"
#include "ops/attention.h"

namespace native {

inline constexpr int64_t kQueryBlock = 64;  // most queries of a tile; the keys are never split

// One head of one sequence.
struct Head {
  int64_t sequence, index;
};

// The head that a thread takes after `head`.
inline Head head_after(const AttentionArgs& a, Head head) {
  const int64_t next = std::min(head.sequence * a.heads + head.index + 1, a.batch * a.heads - 1);
  return {next / a.heads, next % a.heads};
}

// Rows of floats, `stride` apart.
struct FloatRows {
  const float* x;
  int64_t stride;
};

// Whether rows of `size` elements are what tile products read and write, without being packed.
inline bool is_tile(DType dtype, int64_t size) { return dtype == DType::float32 && size % kTileLanes == 0; }

// `count` rows of `size` elements, `stride` apart, as float32 rows of pad_to_lanes(size), padded with zeros:
// themselves where they are that, else packed into `buffer`.
FloatRows rows_of(const void* x, DType dtype, int64_t stride, int64_t count, int64_t size, float* buffer);

// The inverse of packing: rounds packed rows into rows `stride` apart.
void unpack_rows(const float* rows, int64_t count, int64_t size, void* x, DType dtype, int64_t stride);

// `count` rows of `width` to their transpose: [width, pad_to_lanes(count)], columns from `count` on finite if
// the rows are.
void transpose_rows(const FloatRows& rows, int64_t count, int64_t width, float* columns);

// x moved by `elements`.
inline const void* advance(const void* x, DType dtype, int64_t elements) {
  return static_cast<const char*>(x) + elements * static_cast<int64_t>(dtype_size(dtype));
}
inline void* advance(void* x, DType dtype, int64_t elements) {
  return static_cast<char*>(x) + elements * static_cast<int64_t>(dtype_size(dtype));
}

// A float buffer of the calling thread's from a cache line on, at least `count` long; `slot` tells its
// buffers apart. Contents are undefined.
float* tile_buffer(int slot, int64_t count);

// Rows that the thread will soon read or write, fetched into L2 a share at a time before it computes: all at
// once they would keep it waiting for memory.
class RowFetcher {
 public:
  // Rows of `size` elements, in `parts` shares.
  RowFetcher(DType dtype, int64_t size, int64_t parts)
      : element_(static_cast<int64_t>(dtype_size(dtype))), bytes_(size * element_), parts_(parts) {}

  // `count` rows, `stride` elements apart; at most kMost times.
  void add(const void* x, int64_t stride, int64_t count, bool write = false) {
    rows_.at(used_++) = {static_cast<const char*>(x), stride * element_, count, write};
  }

  // Fetches the next share.
  void advance();

 private:
  static constexpr size_t kMost = 7;
  struct Rows {
    const char* x;
    int64_t stride, count;  // stride in bytes
    bool write;
  };
  int64_t element_, bytes_, parts_, part_ = 0;
  std::array<Rows, kMost> rows_;
  size_t used_ = 0;
};

inline int64_t query_blocks(int64_t queries) { return (queries + kQueryBlock - 1) / kQueryBlock; }

// What `count` queries from `first` on see of the keys, in rows of logits `row` apart.
inline SeenRows seen_rows(const AttentionArgs& a, int64_t first, int64_t count, int64_t row) {
  const int64_t last = a.causal ? std::min(a.keys, first + count) : a.keys;
  return {row, count, pad_to_lanes(last), a.causal ? first + 1 : a.keys, a.causal ? 1 : 0, a.keys};
}

// Calls body(first, count) for the blocks of queries, as even as they can be.
template <class Body>
void for_query_blocks(int64_t queries, const Body& body) {
  const int64_t blocks = query_blocks(queries);
  for (int64_t i = 0; i < blocks; ++i)
    body(queries * i / blocks, queries * (i + 1) / blocks - queries * i / blocks);
}

}  // namespace native
