#include "ops/tensor_list.h"

#include <algorithm>

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(grad_norm, TensorListArgs);
DEFINE_KERNEL(scale_in_place, TensorListArgs);
DEFINE_KERNEL(all_finite, TensorListArgs);
DEFINE_KERNEL(adamw_step, AdamwArgs);

namespace {

std::shared_ptr<const std::vector<ListChunk>> chunks_of(const char* op, const std::vector<Tensor>& list) {
  CHECK(!list.empty(), "ERR_ARGUMENT", op, ": the list is empty");
  auto chunks = std::make_shared<std::vector<ListChunk>>();
  for (const Tensor& x : list) {
    check_float(op, "a tensor", x);
    common_device(op, {&list.front(), &x});
    const int64_t size = static_cast<int64_t>(dtype_size(x.dtype()));
    for (int64_t first = 0; first < x.numel(); first += kListChunk) {
      chunks->push_back(
          {static_cast<char*>(x.raw()) + first * size, std::min(kListChunk, x.numel() - first), x.dtype()});
    }
  }
  return chunks;
}

// The tables of adamw_step, and the rows that its parameters have in them.
void check_tables(const std::vector<int64_t>& rows, const Tensor& steps, const Tensor& rates) {
  CHECK(steps.dtype() == DType::int64 && steps.ndim() == 1 && rates.dtype() == DType::int64 &&
            rates.shape() == Shape({steps.size(0), 2}),
        "ERR_SHAPE", "adamw_step: steps must be int64[R] and rates int64[R, 2], got ", steps.describe(),
        " and ", rates.describe());
  std::vector<bool> taken(static_cast<size_t>(steps.size(0)), false);
  for (const int64_t row : rows) {
    CHECK(row >= 0 && row < steps.size(0) && !taken[static_cast<size_t>(row)], "ERR_ARGUMENT",
          "adamw_step: rows must be different and below ", steps.size(0), ", got ", row);
    taken[static_cast<size_t>(row)] = true;
  }
}

// The dtype of a parameter's copy, where there is one.
DType check_copy(const Tensor& param, const std::optional<Tensor>& copy) {
  if (!copy) return DType::float32;
  CHECK(
      (copy->dtype() == DType::bfloat16 || copy->dtype() == DType::float16) && copy->shape() == param.shape(),
      "ERR_SHAPE", "adamw_step: a copy of ", param.describe(),
      " must be bfloat16 or float16 of its shape, got ", copy->describe());
  common_device("adamw_step", {&param, &*copy});
  return copy->dtype();
}

}  // namespace

Tensor grad_norm(const std::vector<Tensor>& list) {
  auto chunks = chunks_of("grad_norm", list);
  Tensor norm = empty({}, DType::float32, list.front().device());
  launch(grad_norm_kernel, TensorListArgs{chunks, nullptr, norm.data<float>(), nullptr}, {&list.front()});
  return norm;
}

void scale_in_place(const std::vector<Tensor>& list, const Tensor& factor) {
  CHECK(factor.dtype() == DType::float32 && factor.numel() == 1, "ERR_SHAPE",
        "scale_in_place: the factor must be one float32 number, got ", factor.describe());
  auto chunks = chunks_of("scale_in_place", list);
  launch(scale_in_place_kernel, TensorListArgs{chunks, factor.data<float>(), nullptr, nullptr},
         {&list.front(), &factor});
}

Tensor all_finite(const std::vector<Tensor>& list) {
  auto chunks = chunks_of("all_finite", list);
  Tensor finite = empty({}, DType::int32, list.front().device());
  launch(all_finite_kernel, TensorListArgs{chunks, nullptr, nullptr, finite.data<int32_t>()},
         {&list.front()});
  return finite;
}

void adamw_step(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                const std::vector<Tensor>& exp_avg, const std::vector<Tensor>& exp_avg_sq,
                const std::vector<int64_t>& rows, const Tensor& steps, const Tensor& rates, double beta1,
                double beta2, double eps, const std::optional<Tensor>& when,
                const std::vector<std::optional<Tensor>>& copies) {
  const size_t count = params.size();
  CHECK(grads.size() == count && exp_avg.size() == count && exp_avg_sq.size() == count &&
            rows.size() == count && copies.size() == count,
        "ERR_ARGUMENT", "adamw_step: the lists have different lengths");
  if (count == 0) return;
  check_tables(rows, steps, rates);
  if (when) {
    CHECK(when->dtype() == DType::int32 && when->numel() == 1, "ERR_SHAPE",
          "adamw_step: when must be one int32 number, got ", when->describe());
    common_device("adamw_step", {&params.front(), &*when});
  }
  auto chunks = std::make_shared<std::vector<AdamwChunk>>();
  for (size_t i = 0; i < count; ++i) {
    for (const Tensor* x : {&params[i], &exp_avg[i], &exp_avg_sq[i]}) {
      CHECK(x->dtype() == DType::float32 && x->shape() == params[i].shape(), "ERR_SHAPE",
            "adamw_step: tensor ", i, " is ", params[i].describe(), " with moments ", exp_avg[i].describe(),
            " and ", exp_avg_sq[i].describe(), "; all must be float32 of one shape");
    }
    const Tensor& grad = grads[i];
    check_float("adamw_step", "a gradient", grad);
    CHECK(grad.shape() == params[i].shape(), "ERR_SHAPE", "adamw_step: gradient ", i, " is ", grad.describe(),
          " for ", params[i].describe());
    common_device("adamw_step", {&params.front(), &params[i], &grad, &exp_avg[i], &exp_avg_sq[i]});
    const DType copy_dtype = check_copy(params[i], copies[i]);
    char* copy = copies[i] ? static_cast<char*>(copies[i]->raw()) : nullptr;
    const int64_t size = static_cast<int64_t>(dtype_size(grad.dtype()));
    for (int64_t first = 0; first < grad.numel(); first += kListChunk) {
      chunks->push_back({params[i].data<float>() + first, static_cast<const char*>(grad.raw()) + first * size,
                         exp_avg[i].data<float>() + first, exp_avg_sq[i].data<float>() + first,
                         copy ? copy + first * 2 : nullptr, std::min(kListChunk, grad.numel() - first),
                         static_cast<int32_t>(i), grad.dtype(), copy_dtype});
    }
  }
  launch(adamw_step_kernel,
         AdamwArgs{chunks, std::make_shared<const std::vector<int64_t>>(rows), steps.data<int64_t>(),
                   rates.data<double>(), when ? when->data<int32_t>() : nullptr, beta1, beta2,
                   static_cast<float>(eps)},
         {&params.front(), &steps, &rates});
}

}  // namespace native
