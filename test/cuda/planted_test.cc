// Every barrier of the row and elementwise kernels, their wait for the grid in front, and the last thread and
// block of every launch, is needed: without it the results change or the device reports. (Matrix products and
// attention have such tests beside their own.)
#ifdef CUDA_EMULATION
#include "check.h"
#include "mutation.h"
#include "ops/binary.h"
#include "ops/copy.h"
#include "ops/cross_entropy.h"
#include "ops/gather.h"
#include "ops/l2_normalize.h"
#include "ops/layer_norm.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/tensor_list.h"
#include "ops/unary.h"

using namespace check;

namespace {

Tensor random_tensor(const Shape& shape, uint64_t seed, DType dtype = DType::float32) {
  return to_device(normal(native::shape_numel(shape), seed, dtype), shape, dtype);
}

// The results as they are without a mistake; the trial compares later ones with these, bit by bit.
Trial same_results(const std::function<std::vector<Tensor>()>& run) {
  const auto read = [run] {
    Values all;
    for (const Tensor& result : run()) {
      const Values values = to_host(result);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  return [read, expected = read()] { return difference(read(), expected, 0); };
}

// The operation's files must hold `calls` barriers and waits, each of which the trial misses.
void expect_all_needed(const std::string& name, const std::string& part, int calls,
                       const std::function<std::vector<Tensor>()>& run) {
  const Trial trial = same_results(run);
  int found = 0;
  for (const std::string& site : unnoticed_sites(part, trial, &found)) {
    CHECK_MESSAGE(false, name << ": " << site << " could be left out");
  }
  CHECK_MESSAGE(found == calls, name << ": " << found << " barriers and waits in " << part);
  for (const std::string& mistake : unnoticed_plants(trial)) CHECK_MESSAGE(false, name << ": " << mistake);
}

}  // namespace

TEST_CASE("planted mistakes: elementwise kernels") {
  const Tensor x = random_tensor({4, 4096}, 1), y = random_tensor({4, 4096}, 2);
  expect_all_needed("cast", "copy.cu", 1, [&] { return std::vector{native::cast(x, DType::bfloat16)}; });
  expect_all_needed("fill", "copy.cu", 1, [&] {
    return std::vector{native::full({4, 4096}, 3, DType::int32, native::DeviceType::cuda)};
  });
  expect_all_needed("add", "binary.cu", 1, [&] { return std::vector{native::add(x, y)}; });
  expect_all_needed("permute", "layout.cu", 2, [&] {
    return std::vector{native::permute(x.reshape({4, 64, 64}), {0, 2, 1})};
  });
}

TEST_CASE("planted mistakes: layer normalisation") {
  const Tensor x = random_tensor({2, 63, 256}, 1), weight = random_tensor({256}, 2),
               bias = random_tensor({256}, 3);
  const Tensor append = random_tensor({2, 256}, 4), dy = random_tensor({128, 256}, 5);
  expect_all_needed("layer norm", "layer_norm", 1, [&] {
    const auto [y, mean, rstd] = native::layer_norm_forward(x, append, weight, bias, 1e-5);
    return std::vector{y, mean, rstd};
  });
  const auto [y, mean, rstd] = native::layer_norm_forward(x, append, weight, bias, 1e-5);
  expect_all_needed("layer norm backward", "layer_norm", 4, [&, mean = mean, rstd = rstd] {
    const auto [dx, dappend, dweight, dbias] =
        native::layer_norm_backward(dy, x, append, weight, mean, rstd, std::nullopt);
    return std::vector{dx, *dappend, dweight, dbias};
  });
}

TEST_CASE("planted mistakes: rows that a block shares") {
  const Tensor x = random_tensor({3, 4096}, 1);
  expect_all_needed("softmax", "team.cuh", 2, [&] { return std::vector{native::softmax_forward(x, false)}; });
  expect_all_needed("l2 norm", "l2_normalize", 1, [&] {
    const auto [y, norm] = native::l2_normalize_forward(x, 1e-12);
    return std::vector{y, norm};
  });
}

TEST_CASE("planted mistakes: reductions") {
  const Tensor x = random_tensor({256, 512}, 1);
  expect_all_needed("sum of columns", "reduce.cu", 4,
                    [&] { return std::vector{native::reduce("sum", x, {0}, DType::float32)}; });
  expect_all_needed("gradient norm", "tensor_list", 2, [&] {
    return std::vector{native::grad_norm({x, x})};
  });
}
#endif
