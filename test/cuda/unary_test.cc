// Elementwise functions of one operand: every function and its derivative, vectors and tails, views that
// start anywhere, special values.
#include "ops/unary.h"

#include <cmath>
#include <limits>

#include "check.h"

using namespace check;
using native::UnaryOp;

namespace {

struct Function {
  UnaryOp op;
  double (*f)(double);
  double (*slope)(double);  // of what backward is given: the result for exp, sqrt, rsqrt and relu
  bool positive;            // defined for positive operands only
};

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

const Function kFunctions[] = {
    {UnaryOp::neg, [](double v) { return -v; }, [](double) { return -1.0; }, false},
    {UnaryOp::exp, [](double v) { return std::exp(v); }, [](double y) { return y; }, false},
    {UnaryOp::log, [](double v) { return std::log(v); }, [](double v) { return 1 / v; }, true},
    {UnaryOp::sqrt, [](double v) { return std::sqrt(v); }, [](double y) { return 0.5 / y; }, true},
    {UnaryOp::rsqrt, [](double v) { return 1 / std::sqrt(v); }, [](double y) { return -0.5 * y * y * y; },
     true},
    {UnaryOp::abs, [](double v) { return std::fabs(v); },
     [](double v) { return static_cast<double>((v > 0) - (v < 0)); }, false},
    {UnaryOp::square, [](double v) { return v * v; }, [](double v) { return 2 * v; }, false},
    {UnaryOp::tanh, [](double v) { return std::tanh(v); },
     [](double v) { return 1 / (std::cosh(v) * std::cosh(v)); }, false},
    {UnaryOp::sigmoid, [](double v) { return sigmoid(v); }, [](double v) { return sigmoid(v) * sigmoid(-v); },
     false},
    {UnaryOp::relu, [](double v) { return std::fmax(v, 0); }, [](double y) { return y > 0 ? 1.0 : 0.0; },
     false},
    {UnaryOp::gelu, [](double v) { return 0.5 * v * std::erfc(-v / std::sqrt(2)); },
     [](double v) {
       return 0.5 * std::erfc(-v / std::sqrt(2)) + v * std::exp(-v * v / 2) / std::sqrt(2 * M_PI);
     },
     false},
    {UnaryOp::quick_gelu, [](double v) { return v * sigmoid(1.702 * v); },
     [](double v) {
       const double s = sigmoid(1.702 * v);
       return s + 1.702 * v * s * (1 - s);
     },
     false},
    {UnaryOp::sin, [](double v) { return std::sin(v); }, [](double v) { return std::cos(v); }, false},
    {UnaryOp::cos, [](double v) { return std::cos(v); }, [](double v) { return -std::sin(v); }, false},
};

Values map(double (*f)(double), const Values& x) {
  Values y;
  for (double value : x) y.push_back(f(value));
  return y;
}

Tensor apply(UnaryOp op, const Values& x, DType dtype, int64_t offset) {
  const auto n = static_cast<int64_t>(x.size());
  const Tensor operand = to_device(x, {n}, dtype, offset), y = poisoned({n}, dtype, offset);
  native::launch(native::unary_forward_kernel,
                 native::UnaryArgs{operand.raw(), nullptr, y.raw(), n, op, dtype}, {&operand});
  return y;
}

Tensor apply_slope(UnaryOp op, const Values& x, const Values& dy, DType dtype, int64_t offset) {
  const auto n = static_cast<int64_t>(x.size());
  const Tensor operand = to_device(x, {n}, dtype, offset), gradient = to_device(dy, {n}, dtype, offset);
  const Tensor dx = poisoned({n}, dtype, offset);
  native::launch(native::unary_backward_kernel,
                 native::UnaryArgs{operand.raw(), gradient.raw(), dx.raw(), n, op, dtype}, {&operand});
  return dx;
}

}  // namespace

TEST_CASE("unary functions and derivatives at all lengths and offsets") {
  for (DType dtype : kFloats) {
    for (const Function& function : kFunctions) {
      for (const auto& [n, offset] :
           {std::pair<int64_t, int64_t>{0, 0}, {1, 0}, {7, 0}, {1500, 0}, {4099, 0}, {37, 1}}) {
        Values x = normal(n, 1, dtype, 2);
        if (function.positive) {
          for (double& value : x) value = rounded(std::fabs(value) + 0.01, dtype);
        }
        const std::string name = native::concat("function ", static_cast<int>(function.op), " ",
                                                native::dtype_name(dtype), " [", n, "] at ", offset);
        const auto forward = [&](const std::vector<Values>& v) { return map(function.f, v[0]); };
        expect_close(name, apply(function.op, x, dtype, offset), forward({x}),
                     allowed_error(forward, {x}, dtype));
        const auto backward = [&](const std::vector<Values>& v) {
          Values dx = map(function.slope, v[0]);
          for (size_t i = 0; i < dx.size(); ++i) dx[i] *= v[1][i];
          return dx;
        };
        const std::vector<Values> operands = {x, normal(n, 2, dtype)};
        expect_close(name + " slope", apply_slope(function.op, x, operands[1], dtype, offset),
                     backward(operands), allowed_error(backward, operands, dtype));
      }
    }
  }
}

TEST_CASE("sine and cosine of any float32 to 2 units in the last place of 1") {
  Values x = normal(2000, 1, DType::float32, 30);
  for (double scale : {1e-30, 0.1, 60000.0, 1e5, 1e7, 1e12, 1e25, 1e38}) {
    for (double value : normal(100, 3, DType::float32)) {
      x.push_back(rounded(std::fmod(value, 3) * scale, DType::float32));
    }
  }
  for (int k = -70000; k <= 70000; k += 997) x.push_back(rounded(k * M_PI_2, DType::float32));
  x.insert(x.end(), {0.0, -0.0, 65536.0, -65535.9921875, 16367173 * 0x1p+72, 0x1.fffffep127});
  // The host's long double functions reduce exactly.
  Values sines, cosines;
  for (double value : x) {
    sines.push_back(static_cast<double>(std::sin(static_cast<long double>(value))));
    cosines.push_back(static_cast<double>(std::cos(static_cast<long double>(value))));
  }
  expect_close("sin", apply(UnaryOp::sin, x, DType::float32, 0), sines, 0x1p-23);
  expect_close("cos", apply(UnaryOp::cos, x, DType::float32, 0), cosines, 0x1p-23);
}

TEST_CASE("unary functions of infinities, NaN and zero") {
  const double inf = HUGE_VAL, nan = std::nan("");
  const Values x = {inf, -inf, nan, 0};
  const auto expect = [&](UnaryOp op, const Values& expected) {
    expect_equal(native::concat("function ", static_cast<int>(op)), apply(op, x, DType::float32, 0),
                 expected);
  };
  expect(UnaryOp::exp, {inf, 0, nan, 1});
  expect(UnaryOp::log, {inf, nan, nan, -inf});
  expect(UnaryOp::rsqrt, {0, nan, nan, inf});
  expect(UnaryOp::relu, {inf, 0, nan, 0});
  expect(UnaryOp::tanh, {1, -1, nan, 0});
  expect(UnaryOp::sigmoid, {1, 0, nan, 0.5});
  expect(UnaryOp::sin, {nan, nan, nan, 0});
  expect(UnaryOp::cos, {nan, nan, nan, 1});
}
