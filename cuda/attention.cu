// Attention on CUDA: registers the kernels and chooses between tensor cores and scalar arithmetic.
#include "attention.h"
#include "common/vector.cuh"
#include "runtime/context.h"

namespace native {
namespace {

using namespace cuda;

// Rows of heads of at most 64 columns, all on 16 bytes: the unit of copies to shared memory.
bool suits_tensor_cores(const AttentionArgs& a) {
  if (a.dtype == DType::float32 || a.head_size > 64) return false;
  for (const int64_t size : {a.head_size, a.q_batch, a.q_row, a.kv_batch, a.kv_row}) {
    if (size % kVectorWidth<bfloat16> != 0) return false;
  }
  return aligned({a.q, a.k, a.v, a.out});
}

// Per key, 64 queries take 5.3 clocks of a multiprocessor by the products of a warpgroup and 32 queries 3.8
// by those of a warp (estimates, docs/cuda.md), which waste less where there are few queries. With one block
// of keys or two nothing overlaps within a head.
bool suits_sm90(const AttentionArgs& a) {
  return current_context().capability() >= 90 && a.queries > 32 && a.keys > 128 &&
         attention_forward_sm90_supports(a);
}

void forward(const AttentionArgs& args) {
  if (!suits_tensor_cores(args)) return attention_forward_scalar(args);
  suits_sm90(args) ? attention_forward_sm90(args) : attention_forward_tensor_cores(args);
}

void backward(const AttentionBackwardArgs& args) {
  const bool suits = suits_tensor_cores(args.forward) && aligned({args.dout, args.dq, args.dk, args.dv});
  suits ? attention_backward_tensor_cores(args) : attention_backward_scalar(args);
}

REGISTER_KERNEL(attention_forward, cuda, forward);
REGISTER_KERNEL(attention_backward, cuda, backward);

}  // namespace
}  // namespace native
