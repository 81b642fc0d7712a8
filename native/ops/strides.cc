#include "ops/strides.h"

#include <algorithm>

#include "core/tensor.h"

namespace native {

Shape contiguous_strides(const Shape& shape) {
  Shape strides(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

Shape broadcast_strides(const Tensor& x, const Shape& shape) {
  const Shape own = contiguous_strides(x.shape());
  Shape strides(shape.size(), 0);
  const size_t missing = shape.size() - own.size();
  for (size_t d = 0; d < own.size(); ++d) {
    if (x.shape()[d] != 1) strides[missing + d] = own[d];
  }
  return strides;
}

Shape broadcast_shape(const char* op, const Tensor& a, const Tensor& b) {
  const size_t ndim = std::max(a.shape().size(), b.shape().size());
  Shape shape(ndim);
  for (size_t d = 0; d < ndim; ++d) {
    const auto size_of = [&](const Tensor& x) {
      const size_t missing = ndim - x.shape().size();
      return d < missing ? int64_t{1} : x.shape()[d - missing];
    };
    const int64_t left = size_of(a), right = size_of(b);
    CHECK(left == right || left == 1 || right == 1, "ERR_SHAPE", op, ": ", a.describe(), " and ",
          b.describe(), " do not broadcast: dimension ", d, " has sizes ", left, " and ", right);
    shape[d] = left == 1 ? right : left;
  }
  return shape;
}

StridedLoop strided_loop(const char* op, const Shape& shape, const Shape& first, const Shape& second) {
  StridedLoop loop;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    const int last = loop.ndim - 1;
    if (last >= 0 && loop.stride[0][last] == first[d] * shape[d] &&
        loop.stride[1][last] == second[d] * shape[d]) {
      loop.size[last] *= shape[d];
      loop.stride[0][last] = first[d];
      loop.stride[1][last] = second[d];
      continue;
    }
    CHECK(loop.ndim < kMaxDims, "ERR_SHAPE", op, ": more than ", kMaxDims, " dimensions in ",
          shape_string(shape));
    loop.size[loop.ndim] = shape[d];
    loop.stride[0][loop.ndim] = first[d];
    loop.stride[1][loop.ndim] = second[d];
    ++loop.ndim;
  }
  return loop;
}

int64_t normal_axis(const char* op, const Tensor& x, int64_t axis) {
  CHECK(axis >= -x.ndim() && axis < x.ndim(), "ERR_SHAPE", op, ": dimension ", axis, " does not exist in ",
        x.describe());
  return axis < 0 ? axis + x.ndim() : axis;
}

}  // namespace native
