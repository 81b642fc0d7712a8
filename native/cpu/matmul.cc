// Batched products on the CPU. Where the batch can be folded into the rows or into the summed dimension it is
// one large product.
#include "ops/matmul.h"

#include <algorithm>
#include <vector>

#include "cpu/float_rows.h"
#include "cpu/gemm.h"

namespace native {
namespace {

GemmOperand operand(const void* data, bool shared, bool transposed, int64_t rows, int64_t columns) {
  return {data, shared ? 0 : rows * columns, transposed ? 1 : columns, transposed ? rows : 1};
}

// c = the sum over the batch. It is one product when both operands, as stored, have the summed dimension
// first; otherwise the products are added one after the other, in float32.
void sum_over_batch(const MatmulArgs& args, GemmArgs product) {
  if (args.transpose_a && !args.transpose_b && !args.share_a && !args.share_b) {
    product.batch = 1;
    product.k *= args.batch;
    return gemm(product);
  }
  const int64_t count = args.m * args.n, size = static_cast<int64_t>(dtype_size(args.dtype));
  std::vector<float> wide(args.dtype == DType::float32 ? 0 : static_cast<size_t>(count));
  float* sum = args.dtype == DType::float32 ? static_cast<float*>(args.c) : wide.data();
  std::fill(sum, sum + count, 0.0f);
  product.batch = 1;
  product.c = sum;
  product.result_dtype = DType::float32;
  product.accumulate = true;
  for (int64_t i = 0; i < args.batch; ++i) {
    product.a.data = static_cast<const char*>(args.a) + i * product.a.batch * size;
    product.b.data = static_cast<const char*>(args.b) + i * product.b.batch * size;
    gemm(product);
  }
  if (!wide.empty()) write_floats(sum, args.c, args.dtype, 0, count);
}

void forward(const MatmulArgs& args) {
  GemmArgs product{args.batch,
                   args.m,
                   args.n,
                   args.k,
                   operand(args.a, args.share_a, args.transpose_a, args.m, args.k),
                   operand(args.b, args.share_b, args.transpose_b, args.k, args.n),
                   args.c,
                   args.dtype,
                   args.dtype};
  product.alpha = args.alpha;
  if (args.sum_batch) return sum_over_batch(args, product);
  if (args.share_b && !args.share_a && !args.transpose_a) {
    product.batch = 1;
    product.m *= args.batch;
  }
  gemm(product);
}

REGISTER_KERNEL(matmul_forward, cpu, forward);

}  // namespace
}  // namespace native
