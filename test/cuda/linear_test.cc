// Linear layers on the device: forward and all gradients, every dtype, shapes that the tensor cores take and
// shapes they do not, views that start anywhere.
#include "ops/linear.h"

#include <cmath>

#include "check.h"

using namespace check;
using native::Shape;

namespace {

struct Size {
  int64_t rows, in, out, offset;
};
constexpr Size kSizes[] = {{70, 48, 72, 0}, {5, 7, 3, 1},  {1, 64, 1, 0},
                           {33, 1, 40, 3},  {0, 8, 16, 0}, {130, 24, 8, 8}};

size_t count(int64_t a, int64_t b = 1) { return static_cast<size_t>(a * b); }
std::string name(const char* what, const Size& s, DType dtype) {
  return native::concat(what, " ", native::dtype_name(dtype), " rows ", s.rows, " in ", s.in, " out ", s.out,
                        " offset ", s.offset);
}

// x [rows, in] wᵀ + b, w [out, in].
Values affine(const Size& s, const Values& x, const Values& w, const Values& b) {
  Values u(count(s.rows, s.out));
  for (int64_t i = 0; i < s.rows; ++i) {
    for (int64_t o = 0; o < s.out; ++o) {
      double sum = b.empty() ? 0 : b[count(o)];
      for (int64_t k = 0; k < s.in; ++k) sum += x[count(i * s.in + k)] * w[count(o * s.in + k)];
      u[count(i * s.out + o)] = sum;
    }
  }
  return u;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double u) { return u * sigmoid(1.702 * u); }
double gelu_slope(double u) {
  const double s = sigmoid(1.702 * u);
  return s + 1.702 * u * s * (1 - s);
}
Values map(Values x, double (*f)(double)) {
  for (double& value : x) value = f(value);
  return x;
}
Values sum(Values x, const Values& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  return x;
}
Values product(Values x, const Values& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] *= y[i];
  return x;
}

// duᵀ x, [out, in].
Values weight_gradient(const Size& s, const Values& du, const Values& x) {
  Values dw(count(s.out, s.in));
  for (int64_t row = 0; row < s.rows; ++row) {
    for (int64_t o = 0; o < s.out; ++o) {
      for (int64_t k = 0; k < s.in; ++k)
        dw[count(o * s.in + k)] += du[count(row * s.out + o)] * x[count(row * s.in + k)];
    }
  }
  return dw;
}
Values column_sums(const Size& s, const Values& du) {
  Values db(count(s.out));
  for (size_t i = 0; i < du.size(); ++i) db[i % count(s.out)] += du[i];
  return db;
}

template <class F>
void for_each_case(const F& f) {
  for (const Size& size : kSizes) {
    for (const DType dtype : kFloats) f(size, dtype);
  }
}

}  // namespace

TEST_CASE("linear_forward: bias, residual, QuickGELU and its slope") {
  for_each_case([](const Size& s, DType dtype) {
    const Values x = normal(s.rows * s.in, 1, dtype), w = normal(s.out * s.in, 2, dtype, 0.3),
                 b = normal(s.out, 3), r = normal(s.rows * s.out, 4, dtype);
    const Tensor xd = to_device(x, {s.rows, s.in}, dtype, s.offset),
                 wd = to_device(w, {s.out, s.in}, dtype, s.offset);
    const Tensor bd = to_device(b, {s.out}, DType::float32, s.offset);
    const Tensor rd = to_device(r, {s.rows, s.out}, dtype, s.offset);

    const Reference plain = [&](const std::vector<Values>& v) { return affine(s, v[0], v[1], {}); };
    expect_close(name("plain", s, dtype), std::get<0>(native::linear_forward(xd, wd, {}, {}, "none", false)),
                 plain({x, w}), allowed_error(plain, {x, w}, dtype));

    const Reference with_residual = [&](const std::vector<Values>& v) {
      return sum(affine(s, v[0], v[1], b), v[2]);
    };
    expect_close(name("residual", s, dtype),
                 std::get<0>(native::linear_forward(xd, wd, bd, rd, "none", false)), with_residual({x, w, r}),
                 allowed_error(with_residual, {x, w, r}, dtype));

    const Reference activated = [&](const std::vector<Values>& v) {
      return map(affine(s, v[0], v[1], b), gelu);
    };
    const Reference slope = [&](const std::vector<Values>& v) {
      return map(affine(s, v[0], v[1], b), gelu_slope);
    };
    const auto [y, g] = native::linear_forward(xd, wd, bd, {}, "quick_gelu", true);
    expect_close(name("gelu", s, dtype), y, activated({x, w}), allowed_error(activated, {x, w}, dtype));
    expect_close(name("slope", s, dtype), *g, slope({x, w}), allowed_error(slope, {x, w}, dtype));
    // Without the slope, the same bits.
    expect_equal(name("gelu alone", s, dtype),
                 std::get<0>(native::linear_forward(xd, wd, bd, {}, "quick_gelu", false)), to_host(y));
  });
}

TEST_CASE("linear_backward_slope multiplies") {
  for_each_case([](const Size& s, DType dtype) {
    const Values dy = normal(s.rows * s.out, 1, dtype), slope = normal(s.rows * s.out, 2, dtype);
    const Shape shape = {s.rows, s.out};
    Values expected = product(dy, slope);
    for (double& value : expected) value = rounded(value, dtype);
    expect_equal(name("du", s, dtype),
                 native::linear_backward_slope(to_device(dy, shape, dtype, s.offset),
                                               to_device(slope, shape, dtype, s.offset)),
                 expected);
  });
}

TEST_CASE("linear_backward_input: the product, and its product with a slope") {
  for_each_case([](const Size& s, DType dtype) {
    const Values du = normal(s.rows * s.out, 1, dtype), w = normal(s.out * s.in, 2, dtype, 0.3),
                 slope = normal(s.rows * s.in, 3, dtype);
    const Tensor dud = to_device(du, {s.rows, s.out}, dtype, s.offset),
                 wd = to_device(w, {s.out, s.in}, dtype, s.offset);
    const Tensor sd = to_device(slope, {s.rows, s.in}, dtype, s.offset);
    const Reference dx = [&](const std::vector<Values>& v) {
      Values turned(v[1].size());
      for (int64_t o = 0; o < s.out; ++o) {
        for (int64_t k = 0; k < s.in; ++k) turned[count(k * s.out + o)] = v[1][count(o * s.in + k)];
      }
      return affine({s.rows, s.out, s.in, 0}, v[0], turned, {});
    };
    const Reference with_slope = [&](const std::vector<Values>& v) {
      return product(dx({v[0], v[1]}), v[2]);
    };
    expect_close(name("dx", s, dtype), native::linear_backward_input(dud, wd, {}), dx({du, w}),
                 allowed_error(dx, {du, w}, dtype));
    expect_close(name("dx slope", s, dtype), native::linear_backward_input(dud, wd, sd),
                 with_slope({du, w, slope}), allowed_error(with_slope, {du, w, slope}, dtype));
  });
}

TEST_CASE("linear_backward_weight and _bias: new tensors, and sums into old ones") {
  for_each_case([](const Size& s, DType dtype) {
    const Values du = normal(s.rows * s.out, 1, dtype), x = normal(s.rows * s.in, 2, dtype);
    const Tensor dud = to_device(du, {s.rows, s.out}, dtype, s.offset),
                 xd = to_device(x, {s.rows, s.in}, dtype, s.offset);
    const Reference dw = [&](const std::vector<Values>& v) { return weight_gradient(s, v[0], v[1]); };
    const Reference db = [&](const std::vector<Values>& v) { return column_sums(s, v[0]); };
    // The operands are exact in their dtype, the sums float32.
    const double dw_error = allowed_error(dw, {du, x}, DType::float32, 8);
    const double db_error = allowed_error(db, {du}, DType::float32, 8);

    const auto [weight, bias] = native::linear_backward_weight(dud, xd, {}, true, {});
    expect_close(name("dw", s, dtype), *weight, dw({du, x}), dw_error);
    expect_close(name("db", s, dtype), *bias, db({du}), db_error);
    expect_close(name("dw alone", s, dtype),
                 *std::get<0>(native::linear_backward_weight(dud, xd, {}, false, {})), dw({du, x}), dw_error);
    expect_close(name("db alone", s, dtype), *native::linear_backward_bias(dud, {}), db({du}), db_error);

    const Values old_weight = normal(s.out * s.in, 3), old_bias = normal(s.out, 4);
    const Tensor weight_into = to_device(old_weight, {s.out, s.in}, DType::float32, s.offset);
    const Tensor bias_into = to_device(old_bias, {s.out}, DType::float32, s.offset);
    native::linear_backward_weight(dud, xd, weight_into, true, bias_into);
    expect_close(name("dw into", s, dtype), weight_into, sum(dw({du, x}), old_weight),
                 2 * dw_error + 0x1p-22);
    expect_close(name("db into", s, dtype), bias_into, sum(db({du}), old_bias), 2 * db_error + 0x1p-22);
    native::linear_backward_bias(dud, bias_into);
    expect_close(name("db twice", s, dtype), bias_into, sum(sum(db({du}), db({du})), old_bias),
                 4 * db_error + 0x1p-22);
  });
}

TEST_CASE("linear_backward_bias: more rows than one block adds, more columns than it holds") {
  const Size s{1100, 0, 300, 0};
  const Values du = normal(s.rows * s.out, 1, DType::bfloat16);
  const Reference db = [&](const std::vector<Values>& v) { return column_sums(s, v[0]); };
  const Tensor dud = to_device(du, {s.rows, s.out}, DType::bfloat16);
  expect_close("db", *native::linear_backward_bias(dud, {}), db({du}),
               allowed_error(db, {du}, DType::float32, 8));
  // More rows than 4,096 blocks of 512 add: blocks take more then, since a grid may not have any number.
  const Size tall{4096 * 512 + 700, 0, 2, 0};
  const Values ones(static_cast<size_t>(tall.rows * tall.out), 1.0);
  const Tensor tall_du = to_device(ones, {tall.rows, tall.out}, DType::bfloat16);
  const double rows = static_cast<double>(tall.rows);
  expect_equal("db of many rows", *native::linear_backward_bias(tall_du, {}), {rows, rows});
  // A weight without columns takes its bias along all the same.
  const Tensor none = poisoned({s.rows, 0}, DType::bfloat16);
  expect_close("db of an empty weight", *std::get<1>(native::linear_backward_weight(dud, none, {}, true, {})),
               db({du}), allowed_error(db, {du}, DType::float32, 8));
}
