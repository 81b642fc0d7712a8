#include "ops/tensor_list.h"

#include <algorithm>
#include <cmath>

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
                const std::vector<double>& lr, const std::vector<double>& weight_decay, double beta1,
                double beta2, double eps, int64_t step) {
  const size_t count = params.size();
  CHECK(grads.size() == count && exp_avg.size() == count && exp_avg_sq.size() == count &&
            lr.size() == count && weight_decay.size() == count,
        "ERR_ARGUMENT", "adamw_step: the lists have different lengths");
  CHECK(step >= 1, "ERR_ARGUMENT", "adamw_step: step counts from 1, got ", step);
  if (count == 0) return;
  auto chunks = std::make_shared<std::vector<AdamwChunk>>();
  const double correction = 1 - std::pow(beta1, static_cast<double>(step));
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
    const int64_t size = static_cast<int64_t>(dtype_size(grad.dtype()));
    for (int64_t first = 0; first < grad.numel(); first += kListChunk) {
      chunks->push_back({params[i].data<float>() + first, static_cast<const char*>(grad.raw()) + first * size,
                         exp_avg[i].data<float>() + first, exp_avg_sq[i].data<float>() + first,
                         std::min(kListChunk, grad.numel() - first),
                         static_cast<float>(1 - lr[i] * weight_decay[i]),
                         static_cast<float>(lr[i] / correction), grad.dtype()});
    }
  }
  launch(adamw_step_kernel,
         AdamwArgs{chunks, static_cast<float>(1 - beta1), static_cast<float>(beta2),
                   static_cast<float>(1 - beta2), static_cast<float>(eps),
                   static_cast<float>(std::sqrt(1 - std::pow(beta2, static_cast<double>(step))))},
         {&params.front()});
}

}  // namespace native
