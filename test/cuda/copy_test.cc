// Fill, cast and accumulate: every pair of dtypes, lengths around the vector widths, views that start
// anywhere.
#include "ops/copy.h"

#include <algorithm>
#include <tuple>

#include "check.h"

using namespace check;
using native::DeviceType;

namespace {

constexpr int64_t kLengths[] = {0, 1, 7, 8, 15, 16, 17, 255, 1024, 4099};
constexpr DType kAll[] = {DType::float32, DType::bfloat16, DType::float16,
                          DType::int64,   DType::int32,    DType::uint8};

bool is_float(DType dtype) { return dtype <= DType::float16; }

std::string name(DType a, DType b, int64_t n, int64_t offset) {
  return native::concat(native::dtype_name(a), " ", native::dtype_name(b), " [", n, "] at ", offset);
}

}  // namespace

TEST_CASE("fill writes every element and nothing else") {
  for (DType dtype : kAll) {
    for (int64_t n : kLengths) {
      for (int64_t offset : {0, 1, 3}) {
        const Tensor y = poisoned({n}, dtype, offset);
        const double value = is_float(dtype) ? 0.3 : 131;
        native::launch(native::fill_kernel, native::FillArgs{y.raw(), value, n, dtype}, {&y});
        expect_equal(name(dtype, dtype, n, offset), y, Values(static_cast<size_t>(n), rounded(value, dtype)));
      }
    }
  }
}

TEST_CASE("cast rounds to nearest even, and toward zero to integers") {
  for (DType from : kAll) {
    for (DType to : kAll) {
      for (int64_t n : {1, 17, 4099}) {
        for (int64_t offset : {0, 1}) {
          const Values values =
              is_float(from) && is_float(to) ? normal(n, 1, from, 100) : integers(n, 1, 0, 120);
          Values inputs = values, expected = values;
          for (size_t i = 0; i < inputs.size(); ++i) {
            if (is_float(from) && !is_float(to)) inputs[i] = rounded(values[i] + 0.75, from);
            expected[i] = rounded(is_float(to) ? inputs[i] : std::trunc(inputs[i]), to);
          }
          const Tensor x = to_device(inputs, {n}, from, offset);
          const Tensor y = poisoned({n}, to, 2 * offset);
          native::copy_into(y, x);
          expect_equal(name(from, to, n, offset), y, expected);
        }
      }
    }
  }
}

TEST_CASE("cast to integers: what lies outside the range becomes its nearest end, NaN becomes 0") {
  const Values numbers = {HUGE_VAL, -HUGE_VAL, std::nan(""), 0.99, -0.99,  -1,    255,    255.9,  256,
                          300,      65504,     -65504,       3e9,  -3e9,   1e19,  -1e19,  0x1p31, -0x1p31,
                          0x1p63,   -0x1p63,   3.4e38,       -7.5, 0x1p30, 1e-40, -1e-40, -0.0,   100.5};
  const auto count = static_cast<int64_t>(numbers.size());
  for (DType from : kFloats) {
    for (const auto& [to, least, most] : {std::tuple<DType, double, double>{DType::uint8, 0, 255},
                                          {DType::int32, -0x1p31, 0x1p31 - 1},
                                          {DType::int64, -0x1p63, 0x1p63}}) {  // the most, in float64
      Values expected;
      for (double value : numbers) {
        const double x = std::trunc(rounded(value, from));
        expected.push_back(std::isnan(x) ? 0 : std::min(std::max(x, least), most));
      }
      for (int64_t offset : {0, 1}) {
        const Tensor y = poisoned({count}, to, offset);
        native::copy_into(y, to_device(numbers, {count}, from, offset));
        expect_equal(name(from, to, count, offset), y, expected);
      }
    }
  }
}

TEST_CASE("cast keeps infinities, NaN, signed zeros and subnormals") {
  const Values special = {HUGE_VAL, -HUGE_VAL, std::nan(""), 0.0,        -0.0,       1e-40,      6e-8,
                          65519,    65520,     3.4e38,       1 + 0x1p-9, 1 + 0x3p-9, 1 + 0x1p-12};
  const Tensor x = to_device(special, {static_cast<int64_t>(special.size())}, DType::float32);
  for (DType to : {DType::bfloat16, DType::float16}) {
    Values expected;
    for (double value : special) expected.push_back(rounded(value, to));
    expect_equal(native::dtype_name(to), native::cast(x, to), expected);
  }
}

TEST_CASE("accumulate adds in float32 and rounds once") {
  for (DType y_dtype : kFloats) {
    for (DType x_dtype : kFloats) {
      for (int64_t n : kLengths) {
        for (int64_t offset : {0, 1}) {
          const Values a = normal(n, 2, y_dtype), b = normal(n, 3, x_dtype);
          Values expected(a.size());
          for (size_t i = 0; i < a.size(); ++i) {
            const float sum = static_cast<float>(a[i]) + static_cast<float>(b[i]);
            expected[i] = rounded(sum, y_dtype);
          }
          const Tensor y = to_device(a, {n}, y_dtype, offset), x = to_device(b, {n}, x_dtype, offset);
          native::launch(native::accumulate_kernel,
                         native::AccumulateArgs{y.raw(), x.raw(), n, y_dtype, x_dtype}, {&y, &x});
          expect_equal(name(y_dtype, x_dtype, n, offset), y, expected);
        }
      }
    }
  }
}

TEST_CASE("what is copied onto itself stays as it is") {
  const Values values = normal(4099, 1);
  const Tensor x = to_device(values, {4099}, DType::float32);
  native::copy_into(x, x);
  native::copy_into(x.reshape({1, 4099}), x.reshape({1, 4099}));
  expect_equal("x", x, values);
}
