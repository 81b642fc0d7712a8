#include "ops/reduce.h"

#include <limits>

#include "core/launch.h"
#include "ops/check.h"
#include "ops/strides.h"

namespace native {

DEFINE_KERNEL(reduce, ReduceArgs);
DEFINE_KERNEL(argmax, ArgmaxArgs);

namespace {

int64_t product(const Shape& shape, size_t first, size_t last) {
  int64_t count = 1;
  for (size_t d = first; d < last; ++d) count *= shape[d];
  return count;
}

// One launch per group of neighbouring dimensions, the last group first.
Tensor reduce_groups(ReduceOp op, const Tensor& x, const std::vector<bool>& reduced, bool mean, DType dtype) {
  Tensor y = x;
  size_t groups = 0;
  for (size_t d = 0; d < reduced.size(); ++d) groups += reduced[d] && (d == 0 || !reduced[d - 1]);
  if (groups == 0) groups = 1;  // length 1: a copy
  for (size_t end = reduced.size(), group = 0; group < groups; ++group) {
    while (end > 0 && !reduced[end - 1]) --end;
    size_t first = end;
    while (first > 0 && reduced[first - 1]) --first;
    Shape shape = y.shape();
    for (size_t d = first; d < end; ++d) shape[d] = 1;
    const int64_t length = product(y.shape(), first, end);
    CHECK(op == ReduceOp::sum || length > 0 || product(shape, 0, shape.size()) == 0, "ERR_SHAPE",
          "max, min: no elements to compare in ", x.describe());
    Tensor next = empty(shape, group + 1 == groups ? dtype : DType::float32, x.device());
    const float scale = mean ? 1.0f / static_cast<float>(length) : 1.0f;
    launch(reduce_kernel,
           ReduceArgs{y.raw(), next.raw(), product(y.shape(), 0, first), length,
                      product(y.shape(), end, y.shape().size()), scale, op, y.dtype(), next.dtype()},
           {&y});
    y = next;
    end = first;
  }
  return y;
}

}  // namespace

Tensor reduce(const std::string& op, const Tensor& x, const std::vector<int64_t>& axes, DType dtype) {
  const bool known = op == "sum" || op == "mean" || op == "max" || op == "min";
  CHECK(known, "ERR_ARGUMENT", "reduce: unknown function '", op, "'");
  check_float(op.c_str(), "x", x);
  check_float(op.c_str(), "the result", dtype, x.device());
  std::vector<bool> reduced(x.shape().size(), false);
  for (const int64_t axis : axes) {
    const int64_t d = normal_axis(op.c_str(), x, axis);
    CHECK(!reduced[d], "ERR_SHAPE", op, ": dimension ", axis, " is given twice for ", x.describe());
    reduced[d] = true;
  }
  const ReduceOp kind = op == "max" ? ReduceOp::max : op == "min" ? ReduceOp::min : ReduceOp::sum;
  return reduce_groups(kind, x, reduced, op == "mean", dtype);
}

Tensor sum_to(const Tensor& x, const Shape& shape, DType dtype) {
  check_float("sum_to", "x", x);
  check_float("sum_to", "the result", dtype, x.device());
  if (x.shape() == shape && x.dtype() == dtype) return x;
  const int64_t missing = x.ndim() - static_cast<int64_t>(shape.size());
  CHECK(missing >= 0, "ERR_SHAPE", "sum_to: ", x.describe(), " has fewer dimensions than ",
        shape_string(shape));
  std::vector<bool> reduced(x.shape().size());
  for (int64_t d = 0; d < x.ndim(); ++d) {
    const int64_t wanted = d < missing ? 1 : shape[d - missing];
    reduced[d] = wanted == 1;
    CHECK(reduced[d] || wanted == x.size(d), "ERR_SHAPE", "sum_to: ", shape_string(shape),
          " does not broadcast to ", x.describe());
  }
  return reduce_groups(ReduceOp::sum, x, reduced, false, dtype).reshape(shape);
}

Tensor argmax(const Tensor& x, int64_t axis) {
  check_float("argmax", "x", x);
  const size_t d = normal_axis("argmax", x, axis);
  CHECK(x.size(d) > 0 && x.size(d) <= std::numeric_limits<int32_t>::max(), "ERR_SHAPE", "argmax: dimension ",
        axis, " of ", x.describe(), " has no largest element");
  Shape shape = x.shape();
  shape.erase(shape.begin() + d);
  Tensor y = empty(shape, DType::int32, x.device());
  launch(argmax_kernel,
         ArgmaxArgs{x.raw(), y.data<int32_t>(), product(x.shape(), 0, d), x.size(d),
                    product(x.shape(), d + 1, x.shape().size()), x.dtype()},
         {&x});
  return y;
}

}  // namespace native
