// Every barrier of the row kernels is needed and every thread of every block does work: whatever is left out
// changes a result.
#ifdef CUDA_EMULATION
#include "check.h"
#include "mutation.h"
#include "ops/layer_norm.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "ops/softmax.h"

using namespace check;

namespace {

// A trial that compares what `f` computes with what it computed when no mistake was planted.
Trial same_as_now(const std::function<std::vector<Tensor>()>& f) {
  std::vector<Values> expected;
  for (const Tensor& x : f()) expected.push_back(to_host(x));
  return [f, expected]() -> std::string {
    std::string text;
    const auto results = f();
    for (size_t i = 0; i < results.size(); ++i) text += difference(to_host(results[i]), expected[i], 0);
    return text;
  };
}

void check_mutations(const std::string& file, int expected_sites,
                     const std::function<std::vector<Tensor>()>& f) {
  const Trial trial = same_as_now(f);
  int sites = 0;
  CHECK(unnoticed_sites(file, trial, &sites) == std::vector<std::string>{});
  CHECK_MESSAGE(sites >= expected_sites, file << " has " << sites << " sites");
  CHECK(unnoticed_plants(trial) == std::vector<std::string>{});
}

}  // namespace

TEST_CASE("mistakes in teams of threads are noticed") {
  const Tensor x = to_device(normal(2 * 2056, 1), {2, 2056}, DType::float32);
  check_mutations("team.cuh", 2, [x] { return std::vector<Tensor>{native::softmax_forward(x, false)}; });
}

TEST_CASE("mistakes in the layer norm's backward pass are noticed") {
  const Tensor x = to_device(normal(70 * 256, 1), {70, 256}, DType::float32);
  const Tensor weight = to_device(normal(256, 2), {256}, DType::float32);
  check_mutations("layer_norm_backward.cu", 2, [x, weight] {
    const auto [y, mean, rstd] = native::layer_norm_forward(x, std::nullopt, weight, weight, 1e-5);
    const auto [dx, none, dweight, dbias] =
        native::layer_norm_backward(y, x, std::nullopt, weight, mean, rstd, std::nullopt);
    return std::vector<Tensor>{dx, dweight, dbias};
  });
}

TEST_CASE("mistakes in reductions of columns are noticed") {
  const Tensor x = to_device(normal(300 * 264, 1), {300, 264}, DType::float32);
  check_mutations("reduce.cu", 2,
                  [x] { return std::vector<Tensor>{native::reduce("sum", x, {0}, DType::float32)}; });
}

TEST_CASE("mistakes in transpositions are noticed") {
  const Tensor x = to_device(normal(70 * 130, 1), {70, 130}, DType::float32);
  check_mutations("layout.cu", 1, [x] { return std::vector<Tensor>{native::permute(x, {1, 0})}; });
}
#endif
