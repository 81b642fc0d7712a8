// Batched matrix products. The whole batch is one product where its matrices lie so in memory; a sum over the
// batch is one longer sum.
#include "gemm/gemm.h"
#include "ops/matmul.h"

namespace native {
namespace {

using namespace cuda;

// `by_k`: the summed dimension, of `k`, is the contiguous one; else the other, of `extent`.
GemmOperand operand(const void* data, bool by_k, int64_t extent, int64_t k, bool shared) {
  return {data, by_k ? Major::k : Major::mn, by_k ? k : extent, shared ? 0 : extent * k};
}

void forward(const MatmulArgs& args) {
  GemmArgs product{};
  product.m = args.m;
  product.n = args.n;
  product.k = args.k;
  product.batch = args.batch;
  product.dtype = args.dtype;
  product.a = operand(args.a, !args.transpose_a, args.m, args.k, args.share_a);
  product.b = operand(args.b, args.transpose_b, args.n, args.k, args.share_b);
  product.c = args.c;
  product.c_pitch = args.n;
  product.c_batch_stride = args.m * args.n;
  product.c_dtype = args.dtype;
  product.epilogue.alpha = args.alpha;
  if (args.sum_batch) {
    product.sum_batch = true;
    product.c_batch_stride = 0;
    const bool joined = args.transpose_a && !args.transpose_b && !args.share_a && !args.share_b;
    if (joined || args.batch == 0) {  // both have the summed dimension first: it runs on through the batch
      product.k *= args.batch;
      product.batch = 1;
      product.sum_batch = false;
    }
  } else if (args.share_b && !args.share_a && !args.transpose_a) {  // the batch's rows follow one another
    product.m *= args.batch;
    product.batch = 1;
  }
  gemm(product);
}

REGISTER_KERNEL(matmul_forward, cuda, forward);

}  // namespace
}  // namespace native
