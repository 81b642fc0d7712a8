// Softmax and log softmax: rows for a warp and for a block, whole vectors or not, views that start anywhere.
#include "ops/softmax.h"

#include <algorithm>
#include <cmath>

#include "check.h"

using namespace check;

namespace {

Values forward_reference(const Values& x, int64_t dim, bool logarithm) {
  Values y(x.size());
  for (size_t start = 0; start < x.size(); start += static_cast<size_t>(dim)) {
    const auto* row = x.data() + start;
    const double largest = *std::max_element(row, row + dim);
    double sum = 0;
    for (int64_t i = 0; i < dim; ++i) sum += std::exp(row[i] - largest);
    for (int64_t i = 0; i < dim; ++i) {
      const double value = row[i] - largest - std::log(sum);
      y[start + static_cast<size_t>(i)] = logarithm ? value : std::exp(value);
    }
  }
  return y;
}

// From dy and y, as the kernel has them.
Values backward_reference(const Values& dy, const Values& y, int64_t dim, bool logarithm) {
  Values dx(y.size());
  for (size_t start = 0; start < y.size(); start += static_cast<size_t>(dim)) {
    double sum = 0;
    for (size_t i = start; i < start + static_cast<size_t>(dim); ++i) sum += logarithm ? dy[i] : dy[i] * y[i];
    for (size_t i = start; i < start + static_cast<size_t>(dim); ++i) {
      dx[i] = logarithm ? dy[i] - std::exp(y[i]) * sum : y[i] * (dy[i] - sum);
    }
  }
  return dx;
}

void check_rows(int64_t rows, int64_t dim, DType dtype, bool logarithm, int64_t offset) {
  const std::string name = native::concat(native::dtype_name(dtype), " [", rows, ", ", dim, "] at ", offset,
                                          logarithm ? " logarithm" : "");
  const Values x = normal(rows * dim, 1, dtype, 3), dy = normal(rows * dim, 2, dtype);
  const Tensor y = poisoned({rows, dim}, dtype, offset), dx = poisoned({rows, dim}, dtype, offset);
  const Tensor operand = to_device(x, {rows, dim}, dtype, offset);
  native::launch(native::softmax_forward_kernel,
                 native::SoftmaxArgs{operand.raw(), y.raw(), rows, dim, logarithm, dtype}, {&operand});
  const auto forward = [&](const std::vector<Values>& v) { return forward_reference(v[0], dim, logarithm); };
  expect_close(name, y, forward({x}), allowed_error(forward, {x}, dtype));

  const std::vector<Values> operands = {dy, to_host(y)};
  const Tensor gradient = to_device(dy, {rows, dim}, dtype, offset);
  native::launch(native::softmax_backward_kernel,
                 native::SoftmaxBackwardArgs{gradient.raw(), y.raw(), dx.raw(), rows, dim, logarithm, dtype},
                 {&gradient});
  const auto backward = [&](const std::vector<Values>& v) {
    return backward_reference(v[0], v[1], dim, logarithm);
  };
  expect_close(name + " backward", dx, backward(operands), allowed_error(backward, operands, dtype));
}

}  // namespace

TEST_CASE("softmax forward and backward at all row lengths") {
  for (DType dtype : kFloats) {
    for (bool logarithm : {false, true}) {
      for (const auto& [rows, dim] :
           {std::pair<int64_t, int64_t>{1, 1}, {9, 5}, {17, 400}, {2, 2048}, {3, 2056}, {2, 2051}}) {
        check_rows(rows, dim, dtype, logarithm, 0);
      }
      check_rows(5, 64, dtype, logarithm, 1);
    }
  }
}

TEST_CASE("softmax of huge, infinite and NaN logits") {
  const double inf = HUGE_VAL, nan = std::nan("");
  const Tensor x = to_device({1000, 1000, -1000, 0, -inf, 0, nan, 0, 1}, {3, 3}, DType::float32);
  expect_equal("softmax", native::softmax_forward(x, false), {0.5, 0.5, 0, 0.5, 0, 0.5, nan, nan, nan});
}

TEST_CASE("softmax of no rows") {
  CHECK(native::softmax_forward(poisoned({0, 7}, DType::float32), false).numel() == 0);
  fence();
}
