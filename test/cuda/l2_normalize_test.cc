// Rows of unit length: rows for a warp and for a block, whole vectors or not, views that start anywhere, and
// rows shorter than eps.
#include "ops/l2_normalize.h"

#include <cmath>

#include "check.h"

using namespace check;

namespace {

constexpr double kEps = 1e-3;

double norm_of(const Values& x, size_t start, size_t dim) {
  double squares = 0;
  for (size_t i = start; i < start + dim; ++i) squares += x[i] * x[i];
  return std::fmax(std::sqrt(squares), kEps);
}

Values forward_reference(const Values& x, size_t dim) {
  Values y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] / norm_of(x, i / dim * dim, dim);
  return y;
}

Values backward_reference(const Values& dy, const Values& x, size_t dim) {
  Values dx(x.size());
  for (size_t start = 0; start < x.size(); start += dim) {
    const double norm = norm_of(x, start, dim);
    double dot = 0;
    for (size_t i = start; i < start + dim; ++i) dot += dy[i] * x[i] / norm;
    for (size_t i = start; i < start + dim; ++i)
      dx[i] = (dy[i] - (norm > kEps ? x[i] / norm * dot : 0)) / norm;
  }
  return dx;
}

void check_rows(int64_t rows, int64_t dim, DType dtype, int64_t offset) {
  const std::string name = native::concat(native::dtype_name(dtype), " [", rows, ", ", dim, "] at ", offset);
  Values x = normal(rows * dim, 1, dtype);
  for (int64_t i = 0; rows > 1 && i < dim; ++i) x[static_cast<size_t>(i)] = 0;  // a row without direction
  const auto width = static_cast<size_t>(dim);
  const Tensor operand = to_device(x, {rows, dim}, dtype, offset), y = poisoned({rows, dim}, dtype, offset);
  const Tensor norm = poisoned({rows}, DType::float32), dx = poisoned({rows, dim}, dtype, offset);
  const auto eps = static_cast<float>(kEps);
  native::launch(native::l2_normalize_forward_kernel,
                 native::L2NormalizeArgs{operand.raw(), y.raw(), norm.data<float>(), rows, dim, eps, dtype},
                 {&operand});
  const auto forward = [&](const std::vector<Values>& v) { return forward_reference(v[0], width); };
  expect_close(name, y, forward({x}), allowed_error(forward, {x}, dtype));
  Values norms;
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row)
    norms.push_back(norm_of(x, row * width, width));
  expect_close(name + " norm", norm, norms, 1e-6 * (1 + std::sqrt(static_cast<double>(dim))));

  const std::vector<Values> operands = {normal(rows * dim, 2, dtype), x};
  const Tensor dy = to_device(operands[0], {rows, dim}, dtype, offset);
  native::launch(native::l2_normalize_backward_kernel,
                 native::L2NormalizeBackwardArgs{dy.raw(), operand.raw(), norm.data<float>(), dx.raw(), rows,
                                                 dim, eps, dtype},
                 {&dy});
  const auto backward = [&](const std::vector<Values>& v) { return backward_reference(v[0], v[1], width); };
  const Values expected = backward(operands), actual = to_host(dx);
  // The row without direction has gradients 1 / eps times larger: its error must not excuse the others'.
  for (size_t first : {size_t{0}, rows > 1 ? width : size_t{0}}) {
    const size_t last = first == 0 && rows > 1 ? width : expected.size();
    const auto part = [&](const Values& all) {
      return Values(all.begin() + static_cast<ptrdiff_t>(first), all.begin() + static_cast<ptrdiff_t>(last));
    };
    const auto rows_of = [&](const std::vector<Values>& v) { return part(backward(v)); };
    // A row of one element cannot turn: its gradient is 0, the difference of two equal terms of a few float32
    // roundings each.
    const double rounding = dim == 1 ? 0x1p-22 * std::fabs(operands[0][0] / norms[0]) : 0;
    const std::string text =
        difference(part(actual), part(expected), allowed_error(rows_of, operands, dtype) + rounding);
    CHECK_MESSAGE(text.empty(), name << " backward: " << text);
  }
}

}  // namespace

TEST_CASE("l2 normalize forward and backward at all row lengths") {
  for (DType dtype : kFloats) {
    for (const auto& [rows, dim] :
         {std::pair<int64_t, int64_t>{1, 1}, {9, 5}, {17, 512}, {3, 2056}, {2, 2051}}) {
      check_rows(rows, dim, dtype, 0);
    }
    check_rows(5, 64, dtype, 1);
  }
}

TEST_CASE("the norm of a row with NaN is NaN") {
  const auto [y, norm] =
      native::l2_normalize_forward(to_device({1, std::nan("")}, {1, 2}, DType::float32), 1e-6);
  expect_equal("norm", norm, {std::nan("")});
}
