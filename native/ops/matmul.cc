#include "ops/matmul.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(matmul_forward, MatmulArgs);

Tensor matmul_forward(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, double alpha,
                      bool sum_batch) {
  check_float("matmul", "a", a);
  CHECK(a.dtype() == b.dtype(), "ERR_DTYPE", "matmul: operands must have one dtype, got ", a.describe(),
        " and ", b.describe());
  CHECK(a.ndim() >= 2 && b.ndim() >= 2, "ERR_SHAPE", "matmul: operands need two dimensions or more, got ",
        a.describe(), " and ", b.describe());
  const int64_t m = a.size(transpose_a ? -1 : -2), k = a.size(transpose_a ? -2 : -1);
  const int64_t n = b.size(transpose_b ? -2 : -1);
  CHECK(b.size(transpose_b ? -1 : -2) == k, "ERR_SHAPE", "matmul: inner sizes differ: ", a.describe(),
        transpose_a ? " transposed" : "", " times ", b.describe(), transpose_b ? " transposed" : "");
  const Shape a_lead(a.shape().begin(), a.shape().end() - 2), b_lead(b.shape().begin(), b.shape().end() - 2);
  const int64_t a_batch = shape_numel(a_lead), b_batch = shape_numel(b_lead);
  CHECK(a_lead == b_lead || a_batch == 1 || b_batch == 1, "ERR_SHAPE",
        "matmul: leading dimensions differ: ", a.describe(), " and ", b.describe(),
        "; they must be equal, or all 1 in one operand");
  const bool b_leads = a_batch == 1 && (b_batch != 1 || b.ndim() > a.ndim());
  Shape shape = b_leads ? b_lead : a_lead;
  const int64_t batch = shape_numel(shape);
  if (sum_batch) shape.clear();
  shape.insert(shape.end(), {m, n});
  Tensor c = empty(shape, a.dtype(), a.device());
  launch(matmul_forward_kernel,
         MatmulArgs{a.raw(), b.raw(), c.raw(), batch, m, n, k, transpose_a, transpose_b, a_batch == 1,
                    b_batch == 1, sum_batch, static_cast<float>(alpha), a.dtype()},
         {&a, &b});
  return c;
}

}  // namespace native
