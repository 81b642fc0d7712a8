// Functions of tensor lists: several tensors and chunks, partial vectors, tensors that start anywhere, every
// gradient dtype.
#include "ops/tensor_list.h"

#include <cmath>

#include "check.h"
#include "ops/copy.h"

using namespace check;

namespace {

constexpr int64_t kCounts[] = {1, 3, 16, 1031, native::kListChunk, native::kListChunk + 5, 0};

struct List {
  std::vector<Values> values;
  std::vector<Tensor> tensors;
};

// float64 numbers as their bits, int64.
Tensor bits_of(const Values& values, const Shape& shape) {
  Tensor bits = native::empty(shape, DType::int64, native::DeviceType::cuda);
  native::backend(native::DeviceType::cuda)
      .copy_from_host(bits.raw(), values.data(), values.size() * sizeof(double));
  return bits;
}

// Tensor i is of dtype i % 3 when `mixed`, and starts i elements behind an aligned address.
List make_list(uint64_t seed, bool mixed, double scale = 1) {
  List list;
  for (int64_t count : kCounts) {
    const size_t i = list.values.size();
    const DType dtype = mixed ? kFloats[i % 3] : DType::float32;
    list.values.push_back(normal(count, seed + i, dtype, scale));
    list.tensors.push_back(to_device(list.values.back(), {count}, dtype, static_cast<int64_t>(i % 5)));
  }
  return list;
}

}  // namespace

TEST_CASE("grad_norm adds squares in float64") {
  const List list = make_list(1, true);
  double squares = 0;
  for (const Values& values : list.values) {
    for (double value : values) squares += value * value;
  }
  const Tensor norm = native::grad_norm(list.tensors);
  expect_close("norm", norm, {std::sqrt(squares)}, std::sqrt(squares) * 0x1p-24);
  expect_equal("again", native::grad_norm(list.tensors), to_host(norm));
}

TEST_CASE("grad_norm of numbers whose squares float32 cannot hold") {
  const Tensor x = to_device(Values(100, 1e25), {100}, DType::float32);
  expect_close("norm", native::grad_norm({x}), {1e26}, 1e19);
}

TEST_CASE("all_finite sees a single NaN or infinity anywhere") {
  expect_equal("finite", native::all_finite(make_list(1, true).tensors), {1});
  for (size_t tensor : {0u, 3u, 4u, 5u}) {
    for (double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      List list = make_list(1, true);
      Values values = list.values[tensor];
      values.back() = bad;
      const Tensor& old = list.tensors[tensor];
      list.tensors[tensor] = to_device(values, old.shape(), old.dtype(), 1);
      expect_equal("not finite", native::all_finite(list.tensors), {0});
    }
  }
}

TEST_CASE("scale_in_place multiplies every element and rounds once") {
  const List list = make_list(1, true);
  native::scale_in_place(list.tensors, to_device({0.3f}, {}, DType::float32));
  for (size_t i = 0; i < list.tensors.size(); ++i) {
    Values expected = list.values[i];
    for (double& value : expected) {
      value = rounded(static_cast<float>(value) * 0.3f, list.tensors[i].dtype());
    }
    expect_equal(native::concat("tensor ", i), list.tensors[i], expected);
  }
}

TEST_CASE("adamw_step: parameters and moments, three steps") {
  for (DType grad_dtype : kFloats) {
    List p = make_list(1, false), m = make_list(20, false, 0.1), v = make_list(40, false, 0.1), g;
    const size_t count = p.tensors.size();
    Values lr, decay, steps, rates(2 * (count + 1), 7);
    std::vector<int64_t> rows;
    for (size_t i = 0; i < count; ++i) {
      for (double& value : v.values[i]) value = std::fabs(value);
      v.tensors[i] =
          to_device(v.values[i], p.tensors[i].shape(), DType::float32, static_cast<int64_t>(i % 5));
      g.values.push_back(normal(p.tensors[i].numel(), 60 + i, grad_dtype));
      g.tensors.push_back(
          to_device(g.values[i], p.tensors[i].shape(), grad_dtype, static_cast<int64_t>(i % 5)));
      lr.push_back(1e-2 * static_cast<double>(i + 1));
      decay.push_back(i % 2 ? 0.1 : 0.0);
      // The first row of the tables is nobody's, the last tensor has the second one.
      rows.push_back(static_cast<int64_t>(count - i));
      rates[2 * (count - i)] = lr[i];
      rates[2 * (count - i) + 1] = decay[i];
    }
    steps.assign(count + 1, 0);
    const Tensor counts = to_device(steps, {static_cast<int64_t>(steps.size())}, DType::int64);
    const Tensor table = bits_of(rates, {static_cast<int64_t>(steps.size()), 2});
    const Tensor yes = to_device({1}, {}, DType::int32), no = to_device({0}, {}, DType::int32);
    const double beta1 = 0.9, beta2 = 0.98, eps = 1e-8;
    std::vector<std::optional<Tensor>> copies(count);  // of both dtypes, and none; some not on 8 bytes
    for (size_t i = 0; i < count; ++i) {
      if (i % 3 == 2) continue;
      copies[i] = poisoned(p.tensors[i].shape(), i % 3 ? DType::float16 : DType::bfloat16,
                           static_cast<int64_t>(i % 4));
    }
    for (int64_t step = 1; step <= 3; ++step) {
      const auto update = [&](const std::optional<Tensor>& when) {
        native::adamw_step(p.tensors, g.tensors, m.tensors, v.tensors, rows, counts, table, beta1, beta2, eps,
                           when, copies);
      };
      update(no);
      step == 2 ? update(std::nullopt) : update(yes);
      for (size_t i = 0; i < count; ++i) {
        for (size_t k = 0; k < p.values[i].size(); ++k) {
          double &param = p.values[i][k], &first = m.values[i][k], &second = v.values[i][k];
          const double grad = g.values[i][k];
          first += (grad - first) * (1 - beta1);
          second = beta2 * second + (1 - beta2) * grad * grad;
          param = param * (1 - lr[i] * decay[i]) -
                  lr[i] / (1 - std::pow(beta1, static_cast<double>(step))) * first /
                      (std::sqrt(second) / std::sqrt(1 - std::pow(beta2, static_cast<double>(step))) + eps);
        }
      }
    }
    Values counted(count + 1, 3);
    counted[0] = 0;
    expect_equal("steps", counts, counted);
    for (size_t i = 0; i < count; ++i) {
      const std::string name = native::concat(native::dtype_name(grad_dtype), " tensor ", i);
      // Three steps of a few float32 roundings each, of numbers up to 5.
      expect_close(name + " param", p.tensors[i], p.values[i], 4e-6);
      expect_close(name + " first moment", m.tensors[i], m.values[i], 1e-6);
      expect_close(name + " second moment", v.tensors[i], v.values[i], 1e-6);
      if (copies[i]) {
        expect_equal(name + " copy", *copies[i], to_host(cast(p.tensors[i], copies[i]->dtype())));
      }
    }
  }
}
