// Matrix products at the shapes of the models' training steps, forward and both gradients, with what their
// epilogues take in and as separate kernels, and a large square.
#include "ops/binary.h"
#include "ops/linear.h"
#include "ops/unary.h"
#include "report.h"
#include "shapes.h"

namespace bench {
namespace {

constexpr DType kDType = DType::bfloat16;

void products(const std::string& suite, int64_t rows, int64_t in, int64_t out) {
  const double flops = 2.0 * rows * in * out;
  const double x_bytes = 2.0 * rows * in, y_bytes = 2.0 * rows * out, weight_bytes = 2.0 * in * out;
  const int sets = sets_beyond_cache(x_bytes + y_bytes);
  std::vector<Tensor> x, dy;
  for (int i = 0; i < sets; ++i) {
    x.push_back(normal({rows, in}, kDType));
    dy.push_back(normal({rows, out}, kDType));
  }
  const Tensor weight = normal({out, in}, kDType, 0.03), bias = normal({out}, DType::float32);
  const Tensor into = normal({out, in}, DType::float32), bias_into = normal({out}, DType::float32);
  const auto forward = [&](int i, const std::optional<Tensor>& residual, const char* activation) {
    return std::get<0>(native::linear_forward(x[i], weight, bias, residual, activation, false));
  };
  const double one = x_bytes + weight_bytes + y_bytes;
  // `pass_bytes`: what a kernel of its own moves behind the product.
  const auto row = [&](const char* name, double bytes, int64_t k, double pass_bytes,
                       const std::function<void(int)>& run) {
    measure({suite,
             name,
             {{"rows", rows}, {"in", in}, {"out", out}},
             kDType,
             flops,
             bytes,
             0,
             predicted_product(flops, pass_bytes ? one : bytes, k, k == rows) + predicted(0, 1, pass_bytes)},
            sets, run);
  };
  row("forward", one, in, 0, [&](int i) { forward(i, std::nullopt, "none"); });
  row("forward+gelu", one, in, 0, [&](int i) { forward(i, std::nullopt, "quick_gelu"); });
  row("forward, gelu", one, in, 2 * y_bytes,
      [&](int i) { native::unary_forward("quick_gelu", forward(i, std::nullopt, "none")); });
  row("forward+gelu+slope", one + y_bytes, in, 0,
      [&](int i) { native::linear_forward(x[i], weight, bias, std::nullopt, "quick_gelu", true); });
  row("forward+residual", one + y_bytes, in, 0, [&](int i) { forward(i, dy[i], "none"); });
  row("forward, residual", one + y_bytes, in, 3 * y_bytes,
      [&](int i) { native::add(forward(i, std::nullopt, "none"), dy[i]); });
  row("input", one, out, 0, [&](int i) { native::linear_backward_input(dy[i], weight, std::nullopt); });
  row("input+slope", one + x_bytes, out, 0,
      [&](int i) { native::linear_backward_input(dy[i], weight, x[i]); });
  row("weight", one + 3 * weight_bytes, rows, 0,
      [&](int i) { native::linear_backward_weight(dy[i], x[i], into, false, std::nullopt); });
  row("weight+bias", one + 3 * weight_bytes, rows, 0,
      [&](int i) { native::linear_backward_weight(dy[i], x[i], into, true, bias_into); });
}

void square(int64_t n) {
  const Tensor a = normal({n, n}, kDType), b = normal({n, n}, kDType, 0.01);
  const double flops = 2.0 * n * n * n, bytes = 6.0 * n * n;
  measure({"square",
           "forward",
           {{"rows", n}, {"in", n}, {"out", n}},
           kDType,
           flops,
           bytes,
           0,
           predicted_product(flops, bytes, n, false)},
          1, [&](int) { native::linear_forward(a, b, std::nullopt, std::nullopt, "none", false); });
}

}  // namespace

void matmul_suite() {
  square(by_scale(8192, 1024, 136));
  for (const Model& model : models()) {
    for (const Layer& layer : kLayers) {
      products(std::string(model.name) + " " + layer.name, rows_of(model, layer), layer.in * model.width,
               layer.out * model.width);
    }
  }
}

}  // namespace bench
