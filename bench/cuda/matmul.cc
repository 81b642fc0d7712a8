// Matrix products at the shapes of the models' training steps, forward and both gradients, and a large
// square.
#include "ops/linear.h"
#include "timing.h"

namespace bench {
namespace {

struct Layer {
  const char* name;
  int64_t in, out, extra;  // sizes in units of the width; extra rows per frame (the message row of qkv)
};
constexpr Layer kLayers[] = {{"qkv", 1, 3, 1}, {"out", 1, 1, 0}, {"fc1", 1, 4, 0}, {"fc2", 4, 1, 0}};

struct Model {
  const char* name;
  int64_t frames, tokens, width;  // frames of a whole batch
};
constexpr Model kModels[] = {{"b32-8f-b64", 512, 50, 768},
                             {"b16-8f-b8", 64, 197, 768},
                             {"b16-8f-b32", 256, 197, 768},
                             {"l14-8f-b16", 128, 257, 1024}};

void measure(const std::string& suite, int64_t rows, int64_t in, int64_t out, DType dtype) {
  const double flops = 2.0 * rows * in * out;
  const double x_bytes = 2.0 * rows * in, y_bytes = 2.0 * rows * out, weight_bytes = 2.0 * in * out;
  const int sets = sets_beyond_cache(x_bytes + y_bytes);
  std::vector<Tensor> x, dy;
  for (int i = 0; i < sets; ++i) {
    x.push_back(normal({rows, in}, dtype));
    dy.push_back(normal({rows, out}, dtype));
  }
  const Tensor weight = normal({out, in}, dtype, 0.03), bias = normal({out}, DType::float32);
  const Tensor into = normal({out, in}, DType::float32);
  const auto row = [&](const char* name, double bytes, double time) {
    report({suite, name, {{"rows", rows}, {"in", in}, {"out", out}}, dtype, flops, bytes, time});
  };
  row("forward", x_bytes + weight_bytes + y_bytes, microseconds(sets, [&](int i) {
        native::linear_forward(x[i], weight, bias, std::nullopt, "none", false);
      }));
  row("forward+gelu", x_bytes + weight_bytes + 2 * y_bytes, microseconds(sets, [&](int i) {
        native::linear_forward(x[i], weight, bias, std::nullopt, "quick_gelu", true);
      }));
  row("forward+residual", x_bytes + weight_bytes + 2 * y_bytes,
      microseconds(sets, [&](int i) { native::linear_forward(x[i], weight, bias, dy[i], "none", false); }));
  row("input", x_bytes + weight_bytes + y_bytes,
      microseconds(sets, [&](int i) { native::linear_backward_input(dy[i], weight, std::nullopt); }));
  row("input+slope", 2 * x_bytes + weight_bytes + y_bytes,
      microseconds(sets, [&](int i) { native::linear_backward_input(dy[i], weight, x[i]); }));
  row("weight", x_bytes + 4 * weight_bytes + y_bytes, microseconds(sets, [&](int i) {
        native::linear_backward_weight(dy[i], x[i], into, false, std::nullopt);
      }));
}

}  // namespace

void matmul_suite(bool quick) {
  const DType dtype = DType::bfloat16;
  {
    const int64_t n = quick ? 1024 : 8192;
    const Tensor a = normal({n, n}, dtype), b = normal({n, n}, dtype, 0.01);
    const double time = microseconds(
        1, [&](int) { native::linear_forward(a, b, std::nullopt, std::nullopt, "none", false); });
    report({"square",
            "forward",
            {{"rows", n}, {"in", n}, {"out", n}},
            dtype,
            2.0 * n * n * n,
            6.0 * n * n,
            time});
  }
  for (const Model& model : kModels) {
    for (const Layer& layer : kLayers) {
      const int64_t rows = model.frames / (quick ? 16 : 1) * (model.tokens + layer.extra);
      measure(std::string(model.name) + " " + layer.name, rows, layer.in * model.width,
              layer.out * model.width, dtype);
    }
  }
}

}  // namespace bench
