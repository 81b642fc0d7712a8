#include "ops/gather.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(gather, GatherArgs);
DEFINE_KERNEL(scatter_add, ScatterAddArgs);

namespace {

void check_index(const char* op, const Tensor& index) {
  CHECK(index.dtype() == DType::int32 || index.dtype() == DType::int64, "ERR_DTYPE", op,
        ": indices must be int32 or int64, got ", index.describe());
}

void check_gradient(const char* op, const Tensor& dy, const Tensor& index) {
  check_index(op, index);
  check_float(op, "the gradient", dy);
  Shape shape = index.shape();
  shape.push_back(dy.ndim() ? dy.size(-1) : 0);
  CHECK(dy.shape() == shape, "ERR_SHAPE", op, ": gradient ", dy.describe(), " does not belong to indices ",
        index.describe());
}

}  // namespace

Tensor embedding_forward(const Tensor& ids, const Tensor& table) {
  check_index("embedding", ids);
  CHECK(table.ndim() == 2, "ERR_SHAPE", "embedding: the table must be [V, D], got ", table.describe());
  Shape shape = ids.shape();
  shape.push_back(table.size(1));
  Tensor y = empty(shape, table.dtype(), table.device());
  launch(gather_kernel,
         GatherArgs{table.raw(), ids.raw(), y.raw(), ids.numel(), table.size(0),
                    table.size(1) * static_cast<int64_t>(dtype_size(table.dtype())), 0, ids.dtype()},
         {&ids, &table});
  return y;
}

Tensor embedding_backward(const Tensor& dy, const Tensor& ids, int64_t table_rows,
                          const std::optional<Tensor>& into) {
  check_gradient("embedding", dy, ids);
  const Shape shape{table_rows, dy.size(-1)};
  CHECK(!into || into->shape() == shape, "ERR_SHAPE", "embedding: gradient to add to is ", into->describe(),
        " instead of ", shape_string(shape));
  if (into) check_float("embedding", "the gradient to add to", *into);
  Tensor dtable = into ? *into : empty(shape, DType::float32, dy.device());
  launch(scatter_add_kernel,
         ScatterAddArgs{dy.raw(), ids.raw(), dtable.raw(), ids.numel(), table_rows, dy.size(-1), 0,
                        table_rows, into.has_value(), dy.dtype(), dtable.dtype(), ids.dtype()},
         {&dy, &ids, &dtable});
  return dtable;
}

Tensor gather_rows_forward(const Tensor& x, const Tensor& index) {
  check_index("gather_rows", index);
  CHECK(x.ndim() == 3 && index.shape() == Shape{x.size(0)}, "ERR_SHAPE",
        "gather_rows: x must be [N, L, D] and index [N], got ", x.describe(), " and ", index.describe());
  Tensor y = empty({x.size(0), x.size(2)}, x.dtype(), x.device());
  launch(gather_kernel,
         GatherArgs{x.raw(), index.raw(), y.raw(), x.size(0), x.size(1),
                    x.size(2) * static_cast<int64_t>(dtype_size(x.dtype())), x.size(1), index.dtype()},
         {&x, &index});
  return y;
}

Tensor gather_rows_backward(const Tensor& dy, const Tensor& index, int64_t length) {
  check_gradient("gather_rows", dy, index);
  CHECK(dy.ndim() == 2, "ERR_SHAPE", "gather_rows: the gradient must be [N, D], got ", dy.describe());
  Tensor dx = empty({dy.size(0), length, dy.size(1)}, dy.dtype(), dy.device());
  launch(scatter_add_kernel,
         ScatterAddArgs{dy.raw(), index.raw(), dx.raw(), dy.size(0), length, dy.size(1), length,
                        dy.size(0) * length, false, dy.dtype(), dx.dtype(), index.dtype()},
         {&dy, &index});
  return dx;
}

}  // namespace native
