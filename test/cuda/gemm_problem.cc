#include "gemm_problem.h"

#include <algorithm>
#include <cmath>

namespace gemm_test {
namespace {

using check::Tensor;
using native::DeviceType;

// An array on the device and what it held at first.
struct Array {
  Tensor tensor;
  Values values;
  Values read() const { return tensor.defined() ? check::to_host(tensor) : Values{}; }
};

struct Matrices {  // [count, rows, columns] with gaps
  int64_t pitch, stride;
  size_t index(int64_t matrix, int64_t row, int64_t column) const {
    return static_cast<size_t>(matrix * stride + row * pitch + column);
  }
};

Matrices layout(int64_t rows, int64_t columns, int64_t gap) {
  const int64_t pitch = columns + gap;
  return {pitch, rows * pitch + (gap ? 8 : 0)};
}

struct Arrays {
  Matrices a, b, c;
  int64_t results;
  Array a_data, b_data, c_data, slope, multiplier, residual, bias, row_sum;
  GemmArgs args{};
};

Arrays make_arrays(const Problem& p, uint64_t seed) {
  Arrays x;
  x.a = p.a == Major::k ? layout(p.m, p.k, p.gap_a) : layout(p.k, p.m, p.gap_a);
  x.b = p.b == Major::k ? layout(p.n, p.k, p.gap_b) : layout(p.k, p.n, p.gap_b);
  x.c = layout(p.m, p.n, p.gap_c);
  x.results = p.sum_batch ? 1 : p.batch;
  const auto random = [&](int64_t count, DType dtype, uint64_t stream) {
    const Values values = check::normal(count, 100 * seed + stream, dtype);
    return Array{check::to_device(values, {count}, dtype, p.offset), values};
  };
  x.a_data = random(x.a.stride * (p.share_a ? 1 : p.batch), p.dtype, 1);
  x.b_data = random(x.b.stride * (p.share_b ? 1 : p.batch), p.dtype, 2);
  const int64_t c_size = x.c.stride * x.results;
  x.c_data = random(c_size, p.c_dtype, 3);
  if (p.slope) x.slope = random(c_size, p.c_dtype, 4);
  if (p.multiplier) x.multiplier = random(c_size, p.c_dtype, 5);
  if (p.residual) x.residual = random(c_size, p.c_dtype, 6);
  if (p.bias) x.bias = random(p.n, DType::float32, 7);
  if (p.row_sum) x.row_sum = random(p.m, DType::float32, 8);

  GemmArgs& args = x.args;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  args.batch = p.batch;
  args.dtype = p.dtype;
  args.a = {x.a_data.tensor.raw(), p.a, x.a.pitch, p.share_a ? 0 : x.a.stride};
  args.b = {x.b_data.tensor.raw(), p.b, x.b.pitch, p.share_b ? 0 : x.b.stride};
  args.c = x.c_data.tensor.raw();
  args.c_pitch = x.c.pitch;
  args.c_batch_stride = x.c.stride;
  args.c_dtype = p.c_dtype;
  args.sum_batch = p.sum_batch;
  args.epilogue.alpha = p.alpha;
  args.epilogue.quick_gelu = p.quick_gelu;
  args.epilogue.accumulate = p.accumulate;
  args.epilogue.accumulate_row_sum = p.accumulate_row_sum;
  if (p.bias) args.epilogue.bias = static_cast<const float*>(x.bias.tensor.raw());
  if (p.slope) args.epilogue.slope = x.slope.tensor.raw();
  if (p.multiplier) args.epilogue.multiplier = x.multiplier.tensor.raw();
  if (p.residual) args.epilogue.residual = x.residual.tensor.raw();
  if (p.row_sum) args.epilogue.row_sum = static_cast<float*>(x.row_sum.tensor.raw());
  return x;
}

// To nearest with 10 bits behind the point, halves away from zero.
float to_tf32(float value) {
  int exponent;
  const float fraction = std::frexp(value, &exponent);  // 0.5 <= |fraction| < 1
  return std::ldexp(std::round(std::ldexp(fraction, 11)), exponent - 11);
}

// The result in arithmetic of type F, every sum from front to back; results are rounded to their dtype when F
// is float.
template <class F>
struct Expected {
  Values c, slope, row_sum;

  static F factor(const Problem& p, F value) {
    if (!p.tf32 || sizeof(F) == 8) return value;
    return static_cast<F>(to_tf32(static_cast<float>(value)));
  }

  Expected(const Problem& p, const Arrays& x)
      : c(x.c_data.values), slope(x.slope.values), row_sum(x.row_sum.values) {
    const auto round = [&](F value) {
      return sizeof(F) == 4 ? check::rounded(static_cast<double>(value), p.c_dtype)
                            : static_cast<double>(value);
    };
    // Operands with k contiguous, in F.
    const auto by_k = [&](const Matrices& layout, const Array& data, Major major, int64_t extent,
                          int64_t count) {
      std::vector<F> values;
      values.reserve(static_cast<size_t>(count * extent * p.k));
      for (int64_t matrix = 0; matrix < count; ++matrix) {
        for (int64_t i = 0; i < extent; ++i) {
          for (int64_t k = 0; k < p.k; ++k) {
            const size_t at = major == Major::k ? layout.index(matrix, i, k) : layout.index(matrix, k, i);
            values.push_back(static_cast<F>(data.values[at]));
          }
        }
      }
      return values;
    };
    const std::vector<F> a = by_k(x.a, x.a_data, p.a, p.m, p.share_a ? 1 : p.batch);
    const std::vector<F> b = by_k(x.b, x.b_data, p.b, p.n, p.share_b ? 1 : p.batch);
    const int64_t summed = p.sum_batch ? p.batch : 1;
    for (int64_t result = 0; result < x.results; ++result) {
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t j = 0; j < p.n; ++j) {
          F sum = 0;
          for (int64_t matrix = result; matrix < result + summed; ++matrix) {
            const F* row = a.data() + ((p.share_a ? 0 : matrix) * p.m + i) * p.k;
            const F* column = b.data() + ((p.share_b ? 0 : matrix) * p.n + j) * p.k;
            for (int64_t k = 0; k < p.k; ++k) sum += factor(p, row[k]) * factor(p, column[k]);
          }
          finish(p, x, x.c.index(result, i, j), j, sum, round);
        }
      }
    }
    for (int64_t i = 0; p.row_sum && i < p.m; ++i) {
      F sum = 0;
      for (int64_t k = 0; k < p.k; ++k) sum += a[static_cast<size_t>(i * p.k + k)];
      double& target = row_sum[static_cast<size_t>(i)];
      target = static_cast<double>(p.accumulate_row_sum ? static_cast<F>(target) + sum : sum);
    }
  }

 private:
  template <class Round>
  void finish(const Problem& p, const Arrays& x, size_t at, int64_t column, F sum, const Round& round) {
    F value = static_cast<F>(p.alpha) * sum;
    if (p.bias) value += static_cast<F>(x.bias.values[static_cast<size_t>(column)]);
    if (p.quick_gelu) {
      const F s = 1 / (1 + std::exp(-F(1.702) * value)), a = value * s;
      if (p.slope) slope[at] = round(s + F(1.702) * a * (1 - s));
      value = a;
    }
    if (p.multiplier) value *= static_cast<F>(x.multiplier.values[at]);
    if (p.residual) value += static_cast<F>(x.residual.values[at]);
    if (p.accumulate) value += static_cast<F>(c[at]);
    c[at] = round(value);
  }
};

// The largest difference may be twice that of the plain loops, and half a unit of the largest result, or what
// tensor cores cut off: about a unit of it with every 8 products of a sum, of which there are `sums`.
std::string compare(const char* what, const Values& actual, const Values& exact, const Values& plain,
                    DType dtype, int64_t sums) {
  double error = 0, largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error = std::max(error, std::abs(plain[i] - exact[i]));
    largest = std::max(largest, std::abs(exact[i]));
  }
  const double cut_off = 0x1p-23 * static_cast<double>(sums) / 8 * largest;
  const double allowed = std::max({2 * error, check::unit_roundoff(dtype) * largest, cut_off});
  const std::string wrong = check::difference(actual, exact, allowed);
  return wrong.empty() ? "" : native::concat(what, ": ", wrong);
}

void run_on_device(const Arrays& arrays, const Run& run) {
  native::backend(DeviceType::cuda).submit({"gemm", {}}, [&run, args = arrays.args] { run(args); });
  check::fence();
}

const char* major_name(Major major) { return major == Major::k ? "k" : "mn"; }

}  // namespace

std::string Problem::describe() const {
  std::string text = native::concat(native::dtype_name(dtype), " -> ", native::dtype_name(c_dtype), " m ", m,
                                    " n ", n, " k ", k, " A by ", major_name(a), ", B by ", major_name(b));
  if (batch != 1) text += native::concat(" batch ", batch);
  const std::pair<bool, const char*> flags[] = {
      {share_a, "share_a"},       {share_b, "share_b"},
      {sum_batch, "sum_batch"},   {bias, "bias"},
      {quick_gelu, "gelu"},       {slope, "slope"},
      {multiplier, "multiplier"}, {residual, "residual"},
      {accumulate, "accumulate"}, {tf32, "tf32"},
      {row_sum, "row_sum"},       {accumulate_row_sum, "accumulate_row_sum"}};
  for (const auto& [on, name] : flags) {
    if (on) text += native::concat(" ", name);
  }
  if (gap_a || gap_b || gap_c || offset) {
    text += native::concat(" gaps ", gap_a, " ", gap_b, " ", gap_c, " offset ", offset);
  }
  return text;
}

Problem aligned_rows(Problem p) {
  const int64_t unit = 16 / native::dtype_size(p.dtype);
  const auto gap = [&](int64_t columns) { return (unit - columns % unit) % unit; };
  p.gap_a = gap(p.a == Major::k ? p.k : p.m);
  p.gap_b = gap(p.b == Major::k ? p.k : p.n);
  return p;
}

std::string find_error(const Problem& problem, const Run& run, uint64_t seed) {
  const Arrays arrays = make_arrays(problem, seed);
  run_on_device(arrays, run);
  const Expected<double> exact(problem, arrays);
  const Expected<float> plain(problem, arrays);
  const bool tensor_cores = problem.dtype != DType::float32 || problem.tf32;
  const int64_t sums = tensor_cores ? problem.k * (problem.sum_batch ? problem.batch : 1) : 0;
  std::string wrong = compare("C", arrays.c_data.read(), exact.c, plain.c, problem.c_dtype, sums);
  if (wrong.empty() && problem.slope) {
    wrong = compare("slope", arrays.slope.read(), exact.slope, plain.slope, problem.c_dtype, sums);
  }
  if (wrong.empty() && problem.row_sum) {
    wrong = compare("row_sum", arrays.row_sum.read(), exact.row_sum, plain.row_sum, DType::float32, sums);
  }
  return wrong;
}

void expect_correct(const Problem& problem, const Run& run) {
  INFO(problem.describe());
  CHECK(find_error(problem, run) == "");
}

Values result_of(const Problem& problem, const Run& run, uint64_t seed) {
  const Arrays arrays = make_arrays(problem, seed);
  run_on_device(arrays, run);
  Values results = arrays.c_data.read();
  for (const Array* other : {&arrays.slope, &arrays.row_sum}) {
    const Values more = other->read();
    results.insert(results.end(), more.begin(), more.end());
  }
  return results;
}

}  // namespace gemm_test
