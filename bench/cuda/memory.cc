// Kernels that memory bounds, beside the card's own copy: layer norm, residual sums, casts, AdamW, softmax
// with cross entropy, pixels.
#include <cuda_runtime.h>

#include "ops/binary.h"
#include "ops/copy.h"
#include "ops/cross_entropy.h"
#include "ops/layer_norm.h"
#include "ops/pixels.h"
#include "ops/tensor_list.h"
#include "report.h"
#include "runtime/context.h"
#include "timing.h"

namespace bench {
namespace {

using Sizes = std::vector<std::pair<std::string, int64_t>>;

void row(const char* name, const Sizes& sizes, DType dtype, double bytes, int sets,
         const std::function<void(int)>& run) {
  measure({"memory", name, sizes, dtype, 0, bytes, 0, predicted(0, 1, bytes)}, sets, run);
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
  const Sizes sizes = {{"sequences", sequences}, {"length", length}, {"dim", dim}, {"append", append}};
  row("layer norm forward", sizes, dtype, x_bytes + y_bytes, sets,
      [&](int i) { native::layer_norm_forward(x[i], extra, weight, bias, 1e-5); });
  row("layer norm backward", sizes, dtype, y_bytes + 3 * x_bytes, sets,
      [&](int i) { native::layer_norm_backward(dy[i], x[i], extra, weight, means, rstds, residual[i]); });
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
  row("adamw", {{"parameters", total}}, DType::float32, 28.0 * total, 1, [&](int) {
    native::adamw_step(params, grads, first, second, rows, steps, rates, 0.9, 0.98, 1e-8, std::nullopt,
                       std::vector<std::optional<Tensor>>(params.size()));
  });
}

void elementwise(int64_t count) {
  const DType dtype = DType::bfloat16;
  const int sets = sets_beyond_cache(2.0 * count);
  std::vector<Tensor> a, b;
  for (int i = 0; i < sets; ++i) {
    a.push_back(normal({count}, dtype));
    b.push_back(normal({count}, dtype));
  }
  row("add", {{"count", count}}, dtype, 6.0 * count, sets, [&](int i) { native::add(a[i], b[i]); });
  row("cast", {{"count", count}}, dtype, 6.0 * count, sets,
      [&](int i) { native::cast(a[i], DType::float32); });
}

void cross_entropy(int64_t batch, int64_t classes) {
  const Tensor logits = normal({batch, classes}, DType::float32),
               targets = normal({batch, classes}, DType::float32);
  row("cross entropy", {{"batch", batch}, {"classes", classes}}, DType::float32, 12.0 * batch * classes, 1,
      [&](int) { native::cross_entropy(logits, targets, 0.1, true); });
}

// Frames as a decoder leaves them: the shorter side brought to `side` * 8 / 7, a square of `side` cut out of
// the middle, every other one mirrored.
void pixels(int64_t pictures, int64_t side) {
  const int64_t short_side = side * 8 / 7, height = side * 3 / 2, width = height * 4 / 3;
  const int64_t long_side = short_side * 4 / 3, frame = 3 * width * height;
  const Tensor frames = native::full({pictures * frame}, 77, DType::uint8, native::DeviceType::cuda);
  std::vector<double> edits;
  for (int64_t i = 0; i < pictures; ++i) {
    for (const int64_t number :
         {i * frame, width, height, long_side, short_side, (long_side - side) / 2, (short_side - side) / 2,
          side, side, i % 2, int64_t{0}, int64_t{0}, int64_t{1}, int64_t{1}, int64_t{1}, int64_t{0}}) {
      edits.push_back(static_cast<double>(number));
    }
  }
  // Read where the crop lies, written as bfloat16.
  const double source = frame * (1.0 * side * side) / (1.0 * short_side * long_side);
  row("pixels", {{"pictures", pictures}, {"side", side}}, DType::bfloat16,
      static_cast<double>(pictures) * (source + 6 * side * side), 1, [&](int) {
        native::pixels(frames, edits, side, side, {123.7, 116.3, 103.5}, {58.4, 57.1, 57.4}, DType::bfloat16);
      });
}

}  // namespace

void measure_copy_bandwidth() {
  const int64_t bytes = by_scale(1 << 30, 8 << 20, 1 << 16);
  const Tensor from = normal({bytes / 4}, DType::float32), to = native::empty_like(from);
  const double time = microseconds(
      1,
      [&](int) {
        native::cuda::check_cuda(
            cudaMemcpyAsync(to.raw(), from.raw(), static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                            native::cuda::current_context().stream()),
            "copy");
      },
      kFirst);
  const double moved = 2.0 * static_cast<double>(bytes);
  set_copy_bandwidth(moved / (time * 1e-6));
  report(
      {"memory", "device copy", {{"bytes", bytes}}, DType::float32, 0, moved, time, predicted(0, 1, moved)});
}

void memory_suite() {
  layer_norm(by_scale(256, 16, 1), by_scale(197, 197, 5), by_scale(768, 768, 64), true);
  layer_norm(by_scale(256, 16, 1), by_scale(197, 197, 5), by_scale(768, 768, 64), false);
  layer_norm(by_scale(128, 8, 2), by_scale(257, 257, 3), by_scale(1024, 1024, 64), false);
  adamw(by_scale(131'000'000, 8'000'000, 4'000), static_cast<int>(by_scale(200, 200, 4)));
  elementwise(by_scale(256, 16, 1) * by_scale(197 * 768, 197 * 768, 1000));
  cross_entropy(by_scale(32, 32, 3), by_scale(400, 400, 50));
  pixels(by_scale(256, 16, 2), by_scale(224, 224, 28));
}

}  // namespace bench
