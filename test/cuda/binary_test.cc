// Elementwise functions of two operands: every function, broadcasting of either, all pairs of dtypes, views
// that start anywhere.
#include "ops/binary.h"

#include <algorithm>
#include <cmath>

#include "check.h"

using namespace check;
using native::BinaryOp;

namespace {

double apply(BinaryOp op, double l, double r) {
  switch (op) {
    case BinaryOp::add:
      return l + r;
    case BinaryOp::sub:
      return l - r;
    case BinaryOp::mul:
      return l * r;
    case BinaryOp::div:
      return l / r;
    case BinaryOp::maximum:
      return l > r || l != l ? l : r;
    case BinaryOp::minimum:
      return l < r || l != l ? l : r;
    case BinaryOp::pow:
      return std::pow(l, r);
    case BinaryOp::heaviside:
      return l > r ? 1 : l == r ? 0.5 : 0;
    case BinaryOp::equal:
      return l == r ? 1 : 0;
  }
  return 0;
}

// Element `index` of the result, in an operand of shape `own` that is broadcast to `shape`.
int64_t operand_index(int64_t index, const Shape& shape, const Shape& own) {
  int64_t result = 0, step = 1;
  for (size_t d = shape.size(), k = own.size(); d-- > 0;) {
    const int64_t position = index % shape[d];
    index /= shape[d];
    if (k == 0) continue;
    --k;
    if (own[k] != 1) result += position * step;
    step *= own[k];
  }
  return result;
}

struct Case {
  Shape a, b, y;
};

// One row, with and without a whole number of vectors; rows of vectors; rows that are not; a scalar; both
// sides broadcast; five dimensions.
const Case kCases[] = {{{1}, {1}, {1}},
                       {{4100}, {4100}, {4100}},
                       {{4099}, {1}, {4099}},
                       {{1}, {33}, {33}},
                       {{6, 16}, {16}, {6, 16}},
                       {{6, 16}, {6, 1}, {6, 16}},
                       {{6, 1}, {1, 24}, {6, 24}},
                       {{5, 7}, {7}, {5, 7}},
                       {{3, 1, 8}, {4, 1}, {3, 4, 8}},
                       {{2, 1, 3, 1, 8}, {4, 1, 5, 1}, {2, 4, 3, 5, 8}},
                       {{0, 3}, {3}, {0, 3}}};

Tensor run(BinaryOp op, const Tensor& a, const Tensor& b, const Shape& shape, int64_t offset) {
  const DType dtype = a.dtype() == DType::float32 ? b.dtype() : a.dtype();
  const Tensor y = poisoned(shape, dtype, offset);
  const auto loop = native::strided_loop("binary", shape, native::broadcast_strides(a, shape),
                                         native::broadcast_strides(b, shape));
  native::launch(
      native::binary_kernel,
      native::BinaryArgs{a.raw(), b.raw(), y.raw(), loop, y.numel(), op, a.dtype(), b.dtype(), dtype},
      {&a, &b});
  return y;
}

void check_case(BinaryOp op, const Case& c, DType a_dtype, DType b_dtype, int64_t offset) {
  Values left = normal(native::shape_numel(c.a), 1, a_dtype),
         right = normal(native::shape_numel(c.b), 2, b_dtype);
  for (double& value : left) {
    if (op == BinaryOp::pow) value = rounded(std::fabs(value) + 0.1, a_dtype);
    if (op == BinaryOp::equal || op == BinaryOp::heaviside) value = std::round(value);
  }
  for (double& value : right) {
    if (op == BinaryOp::div) value = rounded(value + std::copysign(0.2, value), b_dtype);
    if (op == BinaryOp::equal || op == BinaryOp::heaviside) value = std::round(value);
  }
  const auto reference = [&](const std::vector<Values>& v) {
    Values y;
    for (int64_t i = 0; i < native::shape_numel(c.y); ++i) {
      y.push_back(apply(op, v[0][static_cast<size_t>(operand_index(i, c.y, c.a))],
                        v[1][static_cast<size_t>(operand_index(i, c.y, c.b))]));
    }
    return y;
  };
  const Tensor y =
      run(op, to_device(left, c.a, a_dtype, offset), to_device(right, c.b, b_dtype, offset), c.y, offset);
  const bool exact = op == BinaryOp::equal || op == BinaryOp::heaviside;
  const double allowed = exact ? 0 : allowed_error(reference, {left, right}, y.dtype());
  expect_close(native::concat("function ", static_cast<int>(op), " ", native::dtype_name(a_dtype),
                              native::shape_string(c.a), " ", native::dtype_name(b_dtype),
                              native::shape_string(c.b), " at ", offset),
               y, reference({left, right}), allowed);
}

}  // namespace

TEST_CASE("binary functions") {
  for (int op = 0; op <= static_cast<int>(BinaryOp::equal); ++op) {
    for (DType dtype : kFloats)
      check_case(static_cast<BinaryOp>(op), {{35, 8}, {8}, {35, 8}}, dtype, dtype, 0);
  }
}

TEST_CASE("binary broadcasting, dtypes and offsets") {
  for (DType a : kFloats) {
    for (DType b : kFloats) {
      if (a != b && a != DType::float32 && b != DType::float32) continue;
      for (const Case& c : kCases) {
        for (int64_t offset : {0, 1, 4}) check_case(BinaryOp::sub, c, a, b, offset);
      }
    }
  }
}

TEST_CASE("maximum and minimum are NaN when an operand is; the two 16-bit types do not combine") {
  const double nan = std::nan("");
  const Tensor a = to_device({1, nan, 2, nan}, {4}, DType::float32),
               b = to_device({nan, 1, 3, nan}, {4}, DType::float32);
  expect_equal("maximum", run(BinaryOp::maximum, a, b, {4}, 0), {nan, nan, 3, nan});
  expect_equal("minimum", run(BinaryOp::minimum, a, b, {4}, 0), {nan, nan, 2, nan});
  const std::string error = error_of([] {
    run(BinaryOp::add, to_device({1}, {1}, DType::bfloat16), to_device({1}, {1}, DType::float16), {1}, 0);
    fence();
  });
  CHECK(error.find("ERR_DTYPE") == 0);
}

TEST_CASE("rows of a broadcast result are found exactly beside large divisors") {
  // Sizes that are no powers of two, so that a rounded reciprocal would be off by one somewhere.
  for (int64_t rows : {3, 7, 641}) {
    const Values column = integers(rows, 1, 0, 1000);
    const Tensor y = run(BinaryOp::add, to_device(column, {rows, 1, 1}, DType::float32),
                         to_device({0, 0, 0}, {1, 3, 1}, DType::float32), {rows, 3, 1}, 0);
    Values expected;
    for (double value : column) expected.insert(expected.end(), 3, value);
    expect_equal("rows", y, expected);
  }
}
