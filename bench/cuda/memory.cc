// Kernels that memory bounds, beside the card's own copy: layer norm, residual sums, casts, AdamW, softmax.
#include <cuda_runtime.h>

#include "ops/binary.h"
#include "ops/copy.h"
#include "ops/cross_entropy.h"
#include "ops/layer_norm.h"
#include "ops/tensor_list.h"
#include "runtime/context.h"
#include "timing.h"

namespace bench {
namespace {

// The device's own copy: what the others are measured against.
void copy_bandwidth(bool quick) {
  const size_t bytes = quick ? size_t{8} << 20 : size_t{1} << 30;
  const Tensor from = normal({static_cast<int64_t>(bytes / 4)}, DType::float32),
               to = native::empty_like(from);
  const double time = microseconds(1, [&](int) {
    native::cuda::check_cuda(cudaMemcpyAsync(to.raw(), from.raw(), bytes, cudaMemcpyDeviceToDevice,
                                             native::cuda::current_context().stream()),
                             "copy");
  });
  set_peaks({peaks().flops, 2.0 * static_cast<double>(bytes) / (time * 1e-6)});
  report({"memory",
          "device copy",
          {{"bytes", static_cast<int64_t>(bytes)}},
          DType::float32,
          0,
          2.0 * bytes,
          time});
}

void layer_norm(int64_t sequences, int64_t length, int64_t dim, bool append) {
  const DType dtype = DType::bfloat16;
  const double x_bytes = 2.0 * sequences * length * dim,
               y_bytes = x_bytes + (append ? 2.0 * sequences * dim : 0);
  const int sets = sets_beyond_cache(x_bytes);
  std::vector<Tensor> x, dy, residual;
  const int64_t rows = length + (append ? 1 : 0);
  for (int i = 0; i < sets; ++i) {
    x.push_back(normal({sequences, length, dim}, dtype));
    dy.push_back(normal({sequences, rows, dim}, dtype));
    residual.push_back(normal({sequences, length, dim}, dtype));
  }
  const Tensor weight = normal({dim}, DType::float32), bias = normal({dim}, DType::float32);
  std::optional<Tensor> extra;
  if (append) extra = normal({sequences, dim}, dtype);
  auto [y, mean, rstd] = native::layer_norm_forward(x[0], extra, weight, bias, 1e-5);
  const Tensor &means = mean, &rstds = rstd;
  const std::vector<std::pair<std::string, int64_t>> sizes = {
      {"sequences", sequences}, {"length", length}, {"dim", dim}, {"append", append}};
  report({"memory", "layer norm forward", sizes, dtype, 0, x_bytes + y_bytes,
          microseconds(sets, [&](int i) { native::layer_norm_forward(x[i], extra, weight, bias, 1e-5); })});
  report({"memory", "layer norm backward", sizes, dtype, 0, y_bytes + 3 * x_bytes,
          microseconds(sets, [&](int i) {
            native::layer_norm_backward(dy[i], x[i], extra, weight, means, rstds, residual[i]);
          })});
}

void adamw(int64_t total, int tensors) {
  std::vector<Tensor> params, grads, first, second;
  for (int i = 0; i < tensors; ++i) {
    for (auto* list : {&params, &grads, &first, &second}) {
      list->push_back(normal({total / tensors}, DType::float32, list == &second ? 0 : 1));
    }
  }
  std::vector<int64_t> rows;
  for (int i = 0; i < tensors; ++i) rows.push_back(i);
  const Tensor steps = native::full({tensors}, 9, DType::int64, native::DeviceType::cuda);
  const Tensor rates = native::full({tensors, 2}, 0, DType::int64, native::DeviceType::cuda);
  report(
      {"memory", "adamw", {{"parameters", total}}, DType::float32, 0, 28.0 * total, microseconds(1, [&](int) {
         native::adamw_step(params, grads, first, second, rows, steps, rates, 0.9, 0.98, 1e-8, std::nullopt);
       })});
}

void elementwise(int64_t count) {
  const DType dtype = DType::bfloat16;
  const int sets = sets_beyond_cache(2.0 * count);
  std::vector<Tensor> a, b;
  for (int i = 0; i < sets; ++i) {
    a.push_back(normal({count}, dtype));
    b.push_back(normal({count}, dtype));
  }
  report({"memory", "add", {{"count", count}}, dtype, 0, 6.0 * count, microseconds(sets, [&](int i) {
            native::add(a[i], b[i]);
          })});
  report({"memory", "cast", {{"count", count}}, dtype, 0, 6.0 * count, microseconds(sets, [&](int i) {
            native::cast(a[i], DType::float32);
          })});
}

void cross_entropy(int64_t batch, int64_t classes) {
  const Tensor logits = normal({batch, classes}, DType::float32),
               targets = normal({batch, classes}, DType::float32);
  report({"memory",
          "cross entropy",
          {{"batch", batch}, {"classes", classes}},
          DType::float32,
          0,
          12.0 * batch * classes,
          microseconds(1, [&](int) { native::cross_entropy(logits, targets, 0.1, true); })});
}

}  // namespace

void memory_suite(bool quick) {
  const int64_t part = quick ? 16 : 1;
  copy_bandwidth(quick);
  layer_norm(256 / part, 197, 768, true);
  layer_norm(256 / part, 197, 768, false);
  layer_norm(128 / part, 257, 1024, false);
  adamw(131'000'000 / part, 200);
  elementwise(256 * 197 * 768 / part);
  cross_entropy(32, 400);
}

}  // namespace bench
