// Scaled dot-product attention, softmax(q kᵀ / sqrt(head size)) v for every head, without storing the queries
// x keys matrix. The kernels see base pointers and strides, so packed and separate operands are one case.
#pragma once

#include <tuple>

#include "core/kernel.h"

namespace native {

// Row i of head h of sequence s is at q + s * q_batch + i * q_row + h * head_size; k and v have strides of
// their own. Strides are in elements.
struct AttentionArgs {
  const void *q, *k, *v;
  int64_t q_batch, q_row;  // q_batch = 0: all sequences have the same queries
  int64_t kv_batch, kv_row;
  void* out;       // [batch, queries, heads * head_size]
  float* log_sum;  // [batch, heads, queries]: log of the sum of exp(logits)
  int64_t batch, heads, queries, keys, head_size;
  bool causal;  // query i sees keys 0 .. i
  DType dtype;  // of q, k, v and out: a floating type
};

struct AttentionBackwardArgs {
  AttentionArgs forward;  // with the result in `out`, from which sum(p dp) = sum(out dout) of a row follows
  const void* dout;       // [batch, queries, heads * head_size]
  void *dq, *dk, *dv;     // laid out as q, k and v; dq is summed over the batch when q_batch = 0
  int64_t dq_rows;        // rows per sequence of dq: those from `queries` on are set to 0
};

DECLARE_KERNEL(attention_forward, AttentionArgs);
DECLARE_KERNEL(attention_backward, AttentionBackwardArgs);

// q [N or 1, Lq, D], k and v [N, Lk, D] of one dtype, D a multiple of heads. Returns out [N, Lq, D] and
// log_sum float32 [N, heads, Lq].
std::tuple<Tensor, Tensor> attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                                             bool causal);

// `out` and log_sum are the forward's results. Returns dq, dk, dv, each as its operand.
std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k,
                                                      const Tensor& v, const Tensor& out,
                                                      const Tensor& log_sum, int64_t heads, bool causal);

// qkv [N, S, 3 D], each row q, k and v in that order. The first `queries` rows of a sequence ask; all rows
// are keys. Returns out [N, queries, D] and log_sum float32 [N, heads, queries].
std::tuple<Tensor, Tensor> self_attention_forward(const Tensor& qkv, int64_t heads, int64_t queries,
                                                  bool causal);

// Returns dqkv, with dq = 0 in the rows that do not ask.
Tensor self_attention_backward(const Tensor& dout, const Tensor& qkv, const Tensor& out,
                               const Tensor& log_sum, int64_t heads, int64_t queries, bool causal);

}  // namespace native
