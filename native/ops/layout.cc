#include "ops/layout.h"

#include "core/launch.h"

namespace native {

DEFINE_KERNEL(strided_copy, StridedCopyArgs);

namespace {

// Copies a block of `shape` between places given by an element offset and strides.
void copy_block(const char* op, const Tensor& x, int64_t x_offset, const Shape& x_strides, const Tensor& y,
                int64_t y_offset, const Shape& y_strides, const Shape& shape, bool clear = false) {
  const int64_t size = static_cast<int64_t>(dtype_size(x.dtype()));
  launch(strided_copy_kernel,
         StridedCopyArgs{static_cast<const char*>(x.raw()) + x_offset * size,
                         static_cast<char*>(y.raw()) + y_offset * size,
                         strided_loop(op, shape, x_strides, y_strides), shape_numel(shape),
                         clear ? static_cast<int64_t>(y.nbytes()) : 0, y.raw(), static_cast<int>(size)},
         {&x, &y});
}

}  // namespace

Tensor concatenate(const std::vector<Tensor>& list, int64_t axis) {
  CHECK(!list.empty(), "ERR_ARGUMENT", "concat: the list is empty");
  const Tensor& first = list.front();
  const int64_t d = normal_axis("concat", first, axis);
  Shape shape = first.shape();
  shape[d] = 0;
  for (const Tensor& item : list) {
    Shape same = item.shape();
    if (item.ndim() == first.ndim()) same[d] = first.size(d);
    CHECK(same == first.shape() && item.dtype() == first.dtype(), "ERR_SHAPE", "concat: ", item.describe(),
          " does not fit ", first.describe(), " along dimension ", d);
    shape[d] += item.size(d);
  }
  Tensor y = empty(shape, first.dtype(), first.device());
  const Shape strides = contiguous_strides(shape);
  int64_t position = 0;
  for (const Tensor& item : list) {
    copy_block("concat", item, 0, contiguous_strides(item.shape()), y, position * strides[d], strides,
               item.shape());
    position += item.size(d);
  }
  return y;
}

Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t end) {
  const int64_t d = normal_axis("slice", x, axis);
  CHECK(0 <= start && start <= end && end <= x.size(d), "ERR_SHAPE", "slice: ", start, " to ", end,
        " is outside dimension ", d, " of ", x.describe());
  Shape shape = x.shape();
  shape[d] = end - start;
  Tensor y = empty(shape, x.dtype(), x.device());
  const Shape strides = contiguous_strides(x.shape());
  copy_block("slice", x, start * strides[d], strides, y, 0, contiguous_strides(shape), shape);
  return y;
}

Tensor slice_backward(const Tensor& dy, const Shape& shape, int64_t axis, int64_t start) {
  Tensor dx = empty(shape, dy.dtype(), dy.device());
  const int64_t d = normal_axis("slice", dx, axis);
  Shape same = dy.shape();
  if (dy.ndim() == dx.ndim()) same[d] = dx.size(d);
  CHECK(same == shape && start >= 0 && start + dy.size(static_cast<int>(d)) <= dx.size(d), "ERR_SHAPE",
        "slice: gradient ", dy.describe(), " at ", start, " of dimension ", d, " does not belong to ",
        dx.describe());
  const Shape strides = contiguous_strides(shape);
  copy_block("slice", dy, 0, contiguous_strides(dy.shape()), dx, start * strides[d], strides, dy.shape(),
             true);
  return dx;
}

Tensor permute(const Tensor& x, const std::vector<int64_t>& axes) {
  CHECK(static_cast<int>(axes.size()) == x.ndim(), "ERR_SHAPE", "permute: ", axes.size(), " axes for ",
        x.describe());
  const Shape own = contiguous_strides(x.shape());
  Shape shape, strides;
  std::vector<bool> seen(axes.size(), false);
  for (const int64_t axis : axes) {
    const int64_t d = normal_axis("permute", x, axis);
    CHECK(!seen[d], "ERR_SHAPE", "permute: dimension ", axis, " is given twice for ", x.describe());
    seen[d] = true;
    shape.push_back(x.size(d));
    strides.push_back(own[d]);
  }
  Tensor y = empty(shape, x.dtype(), x.device());
  copy_block("permute", x, 0, strides, y, 0, contiguous_strides(shape), shape);
  return y;
}

Tensor expand(const Tensor& x, const Shape& shape) {
  Tensor y = empty(shape, x.dtype(), x.device());
  CHECK(x.ndim() <= y.ndim() && broadcast_shape("expand", x, y) == shape, "ERR_SHAPE",
        "expand: ", x.describe(), " does not broadcast to ", shape_string(shape));
  copy_block("expand", x, 0, broadcast_strides(x, shape), y, 0, contiguous_strides(shape), shape);
  return y;
}

}  // namespace native
