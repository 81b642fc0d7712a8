// Cross entropy: labels of both widths, soft targets, smoothing, rows for a warp and for a block, labels out
// of range.
#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "check.h"

using namespace check;

namespace {

struct Result {
  Values loss, dlogits;
};

// targets: labels, or rows of weights when there are as many as logits.
Result reference_of(const Values& logits, const Values& targets, size_t classes, double smoothing) {
  const size_t batch = logits.size() / classes;
  const bool soft = targets.size() == logits.size();
  Result r{{0}, Values(logits.size())};
  for (size_t row = 0; row < batch; ++row) {
    const double* x = logits.data() + row * classes;
    const double largest = *std::max_element(x, x + classes);
    double sum = 0, weight = 0, dot = 0;
    Values w(classes);
    for (size_t i = 0; i < classes; ++i) {
      const double target =
          soft ? targets[row * classes + i] : static_cast<double>(targets[row] == static_cast<double>(i));
      w[i] = (1 - smoothing) * target + smoothing / static_cast<double>(classes);
      sum += std::exp(x[i] - largest);
      weight += w[i];
      dot += w[i] * (x[i] - largest);
    }
    r.loss[0] += (weight * std::log(sum) - dot) / static_cast<double>(batch);
    for (size_t i = 0; i < classes; ++i) {
      r.dlogits[row * classes + i] =
          (std::exp(x[i] - largest) * weight / sum - w[i]) / static_cast<double>(batch);
    }
  }
  return r;
}

void check_loss(int64_t batch, int64_t classes, DType dtype, DType target_dtype, double smoothing,
                int64_t offset) {
  const std::string name =
      native::concat(native::dtype_name(dtype), " [", batch, ", ", classes, "] ",
                     native::dtype_name(target_dtype), " smoothing ", smoothing, " at ", offset);
  const bool soft = target_dtype == DType::float32;
  const Values x = normal(batch * classes, 1, dtype, 2);
  Values targets = soft ? normal(batch * classes, 2) : integers(batch, 2, 0, classes);
  for (double& value : targets) value = soft ? std::fabs(value) : value;  // need not sum to 1
  const Tensor logits = to_device(x, {batch, classes}, dtype, offset);
  const Tensor target = to_device(targets, soft ? Shape{batch, classes} : Shape{batch}, target_dtype, offset);
  const Tensor loss = poisoned({}, DType::float32), dlogits = poisoned({batch, classes}, dtype, offset);
  for (bool gradient : {true, false}) {
    native::launch(native::cross_entropy_kernel,
                   native::CrossEntropyArgs{logits.raw(), target.raw(), loss.data<float>(),
                                            gradient ? dlogits.raw() : nullptr, batch, classes,
                                            static_cast<float>(smoothing), dtype, target_dtype},
                   {&logits});
    const auto compare = [&](const char* what, const Tensor& actual, Values Result::*part, DType precision) {
      const auto reference = [&](const std::vector<Values>& v) {
        return reference_of(v[0], soft ? v[1] : targets, static_cast<size_t>(classes), smoothing).*part;
      };
      std::vector<Values> operands = {x};
      if (soft) operands.push_back(targets);
      expect_close(name + what, actual, reference(operands), allowed_error(reference, operands, precision));
    };
    compare(" loss", loss, &Result::loss, DType::float32);
    if (gradient) compare(" gradient", dlogits, &Result::dlogits, dtype);
  }
}

}  // namespace

TEST_CASE("cross entropy: labels and soft targets, all row lengths") {
  for (DType dtype : kFloats) {
    for (DType target : {DType::int32, DType::int64, DType::float32}) {
      for (double smoothing : {0.0, 0.1}) {
        check_loss(17, 400, dtype, target, smoothing, 0);
        check_loss(3, 5, dtype, target, smoothing, 1);
      }
      check_loss(2, 2056, dtype, target, 0.1, 0);
      check_loss(2, 2051, dtype, target, 0.1, 0);
      check_loss(300, 3, dtype, target, 0, 0);
    }
  }
}

TEST_CASE(
    "a logit of -infinity counts for nothing where its weight is 0, and is a loss without end where not") {
  const double inf = HUGE_VAL;
  for (DType dtype : kFloats) {
    for (DType target_dtype : {DType::int64, DType::float32}) {
      const bool soft = target_dtype == DType::float32;
      for (int64_t classes : {3, 2056}) {
        Values x(static_cast<size_t>(classes), -inf);
        x[0] = 1, x[1] = 2;
        const auto target = [&](size_t label) {
          if (!soft) return to_device({static_cast<double>(label)}, {1}, target_dtype);
          Values weights(static_cast<size_t>(classes), 0.0);
          weights[label] = 1;
          return to_device(weights, {1, classes}, target_dtype);
        };
        const Tensor logits = to_device(x, {1, classes}, dtype);
        const auto [loss, dlogits] = native::cross_entropy(logits, target(0), 0, true);
        const Result expected = reference_of({1, 2}, {0}, 2, 0);
        Values gradient(static_cast<size_t>(classes), 0.0);
        gradient[0] = expected.dlogits[0], gradient[1] = expected.dlogits[1];
        expect_close("loss", loss, expected.loss, 1e-6);
        expect_close("gradient", *dlogits, gradient, 4 * unit_roundoff(dtype));
        const auto impossible = native::cross_entropy(logits, target(2), 0, true);
        expect_equal("loss of an impossible class", std::get<0>(impossible), {inf});
        const auto smoothed = native::cross_entropy(logits, target(0), 0.1, true);
        expect_equal("loss with smoothing", std::get<0>(smoothed), {inf});
      }
    }
  }
}

TEST_CASE("a label out of range fails at the fence and says which") {
  const Tensor logits = to_device(normal(12, 1), {3, 4}, DType::float32);
  for (const Values& labels : {Values{0, 4, 1}, Values{0, 1, -1}}) {
    const std::string error = error_of([&] {
      native::cross_entropy(logits, to_device(labels, {3}, DType::int64), 0, true);
      fence();
    });
    CHECK(error.find("ERR_INDEX_RANGE") == 0);
    CHECK(error.find(labels[1] == 4 ? "4" : "-1") != std::string::npos);
  }
  CHECK(error_of([&] {
          native::cross_entropy(logits, to_device({0, 3, 1}, {3}, DType::int64), 0, true);
          fence();
        }).empty());
}
