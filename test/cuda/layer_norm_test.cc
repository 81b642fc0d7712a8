// Layer normalisation: rows that fit the registers and rows that do not, with and without an appended row and
// a residual gradient, views that start anywhere.
#include "ops/layer_norm.h"

#include <cmath>

#include "check.h"

using namespace check;

namespace {

constexpr double kEps = 1e-5;

struct Problem {
  int64_t sequences, length, dim;
  bool append;
  int64_t offset;

  int64_t rows() const { return sequences * (length + append); }
  std::string name(DType dtype) const {
    return native::concat(native::dtype_name(dtype), " [", sequences, ", ", length, append ? " + 1, " : ", ",
                          dim, "] at ", offset);
  }
  // Row `row` of the concatenation of x and append, as a place in one of them.
  const double* row_of(const Values& x, const Values& appended, int64_t row) const {
    if (!append) return x.data() + row * dim;
    const int64_t sequence = row / (length + 1), position = row % (length + 1);
    return position < length ? x.data() + (sequence * length + position) * dim
                             : appended.data() + sequence * dim;
  }
};

// Every instantiation: 1 to 4 chunks, partial chunks, of one vector or all but one too, rows of any length,
// whole vectors or not.
const Problem kProblems[] = {{3, 5, 64, false, 0},   {2, 4, 256, true, 0},   {2, 3, 320, true, 0},
                             {1, 9, 512, false, 0},  {2, 4, 768, true, 0},   {2, 4, 1024, true, 0},
                             {1, 3, 1280, true, 0},  {2, 4, 50, true, 0},    {2, 2, 256, true, 1},
                             {1, 1, 1, true, 0},     {1, 3, 1100, false, 3}, {1, 3, 8, false, 0},
                             {1, 3, 248, false, 0},  {1, 3, 264, false, 0},  {1, 3, 504, false, 0},
                             {1, 3, 520, false, 0},  {1, 3, 760, false, 0},  {1, 3, 776, false, 0},
                             {1, 3, 1016, false, 0}, {1, 3, 1032, false, 0}, {1, 3, 2048, false, 0}};

struct Statistics {
  double mean, rstd;
};
Statistics statistics(const double* x, int64_t dim) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < dim; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(dim);
  for (int64_t i = 0; i < dim; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / static_cast<double>(dim) + kEps)};
}

Values forward_reference(const Problem& p, const std::vector<Values>& operands) {
  Values y;
  for (int64_t row = 0; row < p.rows(); ++row) {
    const double* x = p.row_of(operands[0], operands[1], row);
    const Statistics s = statistics(x, p.dim);
    for (int64_t i = 0; i < p.dim; ++i)
      y.push_back((x[i] - s.mean) * s.rstd * operands[2][i] + operands[3][i]);
  }
  return y;
}

struct Gradients {
  Values dx, dappend, dweight, dbias;
};

// operands: x, append, weight, dy, residual
Gradients backward_reference(const Problem& p, const std::vector<Values>& operands, bool residual) {
  const size_t dim = static_cast<size_t>(p.dim);
  Gradients g{{}, {}, Values(dim, 0.0), Values(dim, 0.0)};
  for (int64_t row = 0; row < p.rows(); ++row) {
    const double* x = p.row_of(operands[0], operands[1], row);
    const double* dy = operands[3].data() + row * p.dim;
    const Statistics s = statistics(x, p.dim);
    double sum = 0, dot = 0;
    for (size_t i = 0; i < dim; ++i) {
      const double normal = (x[i] - s.mean) * s.rstd;
      g.dweight[i] += dy[i] * normal;
      g.dbias[i] += dy[i];
      sum += dy[i] * operands[2][i] / static_cast<double>(dim);
      dot += dy[i] * operands[2][i] * normal / static_cast<double>(dim);
    }
    const bool appended = p.append && row % (p.length + 1) == p.length;
    Values& target = appended ? g.dappend : g.dx;
    for (size_t i = 0; i < dim; ++i) {
      const double normal = (x[i] - s.mean) * s.rstd;
      const double added = residual && !appended ? operands[4][target.size()] : 0;
      target.push_back(s.rstd * (operands[2][i] * dy[i] - sum - normal * dot) + added);
    }
  }
  return g;
}

std::optional<Tensor> optional_tensor(bool present, const Values& values, const Shape& shape, DType dtype,
                                      int64_t offset) {
  if (!present) return std::nullopt;
  return to_device(values, shape, dtype, offset);
}

struct Operands {
  std::vector<Values> values;  // x, append, weight, bias or dy, residual
  Tensor x, weight;
  std::optional<Tensor> append;
};

Operands make_operands(const Problem& p, DType dtype) {
  Operands o;
  o.values = {normal(p.sequences * p.length * p.dim, 1, dtype),
              normal(p.append ? p.sequences * p.dim : 0, 2, dtype), normal(p.dim, 3)};
  o.x = to_device(o.values[0], {p.sequences, p.length, p.dim}, dtype, p.offset);
  o.append = optional_tensor(p.append, o.values[1], {p.sequences, p.dim}, dtype, p.offset);
  o.weight = to_device(o.values[2], {p.dim}, DType::float32, p.offset);
  return o;
}

void check_forward(const Problem& p, DType dtype) {
  Operands o = make_operands(p, dtype);
  o.values.push_back(normal(p.dim, 4));
  const Tensor bias = to_device(o.values[3], {p.dim}, DType::float32, p.offset);
  const Tensor y = poisoned({p.rows(), p.dim}, dtype, p.offset);
  const Tensor mean = poisoned({p.rows()}, DType::float32), rstd = poisoned({p.rows()}, DType::float32);
  native::launch(
      native::layer_norm_forward_kernel,
      native::LayerNormArgs{o.x.raw(), o.append ? o.append->raw() : nullptr, o.weight.data<float>(),
                            bias.data<float>(), y.raw(), mean.data<float>(), rstd.data<float>(), p.sequences,
                            p.length, p.dim, static_cast<float>(kEps), dtype},
      {&o.x});
  const auto reference = [&](const std::vector<Values>& v) { return forward_reference(p, v); };
  expect_close(p.name(dtype), y, reference(o.values), allowed_error(reference, o.values, dtype));
  Values means, rstds;
  for (int64_t row = 0; row < p.rows(); ++row) {
    const Statistics s = statistics(p.row_of(o.values[0], o.values[1], row), p.dim);
    means.push_back(s.mean);
    rstds.push_back(s.rstd);
  }
  expect_close(p.name(dtype) + " mean", mean, means, 1e-6);
  // A row of one element has no variance: rstd is 1 / sqrt(eps).
  expect_close(p.name(dtype) + " rstd", rstd, rstds, p.dim == 1 ? 1e-4 : 3e-6);
}

void check_backward(const Problem& p, DType dtype, bool residual) {
  Operands o = make_operands(p, dtype);
  o.values.push_back(normal(p.rows() * p.dim, 5, dtype));
  o.values.push_back(normal(residual ? p.sequences * p.length * p.dim : 0, 6, dtype));
  const auto [y, mean, rstd] = native::layer_norm_forward(o.x, o.append, o.weight, o.weight, kEps);
  const Tensor dy = to_device(o.values[3], y.shape(), dtype, p.offset);
  const auto added = optional_tensor(residual, o.values[4], o.x.shape(), dtype, p.offset);
  const Tensor dx = poisoned(o.x.shape(), dtype, p.offset),
               dweight = poisoned({p.dim}, DType::float32, p.offset),
               dbias = poisoned({p.dim}, DType::float32, p.offset);
  const Tensor dappend = poisoned({p.append ? p.sequences : 0, p.dim}, dtype, p.offset);
  native::launch(native::layer_norm_backward_kernel,
                 native::LayerNormBackwardArgs{dy.raw(), o.x.raw(), o.append ? o.append->raw() : nullptr,
                                               o.weight.data<float>(), mean.data<float>(), rstd.data<float>(),
                                               added ? added->raw() : nullptr, dx.raw(),
                                               p.append ? dappend.raw() : nullptr, dweight.data<float>(),
                                               dbias.data<float>(), p.sequences, p.length, p.dim, dtype},
                 {&dy, &o.x});
  const auto compare = [&](const char* what, const Tensor& actual, Values Gradients::*part, DType precision) {
    const auto reference = [&](const std::vector<Values>& v) {
      return backward_reference(p, v, residual).*part;
    };
    expect_close(p.name(dtype) + what, actual, reference(o.values),
                 allowed_error(reference, o.values, precision));
  };
  compare(" dx", dx, &Gradients::dx, dtype);
  compare(" dappend", dappend, &Gradients::dappend, dtype);
  compare(" dweight", dweight, &Gradients::dweight, DType::float32);
  compare(" dbias", dbias, &Gradients::dbias, DType::float32);
}

}  // namespace

TEST_CASE("layer norm forward: all row lengths, appended rows, unaligned views") {
  for (DType dtype : kFloats) {
    for (const Problem& p : kProblems) check_forward(p, dtype);
  }
}

TEST_CASE("layer norm backward: all row lengths, appended rows, residual gradients") {
  for (DType dtype : kFloats) {
    for (const Problem& p : kProblems) {
      if (p.dim == 1) continue;  // its derivative is zero, its reference rounding noise
      check_backward(p, dtype, p.length % 2 == 1);
    }
  }
}

TEST_CASE("layer norm backward: more rows than the device holds warps, in registers and out of them") {
  check_backward({30, 9, 64, true, 0}, DType::bfloat16, true);
  check_backward({30, 9, 50, true, 0}, DType::float32, true);
}

TEST_CASE("layer norm keeps its precision beside a large mean") {
  const Problem p{1, 3, 256, false, 0};
  Values x = normal(3 * 256, 1);
  for (double& value : x) value = rounded(value + 10000, DType::float32);
  const Values one(256, 1.0), zero(256, 0.0);
  const auto [y, mean, rstd] = native::layer_norm_forward(to_device(x, {3, 256}, DType::float32),
                                                          std::nullopt, to_device(one, {256}, DType::float32),
                                                          to_device(zero, {256}, DType::float32), kEps);
  // The mean is good to half a unit of 10,000 in float32; E[x^2] - E[x]^2 would lose the variance altogether.
  expect_close("y", y, forward_reference(p, {x, {}, one, zero}), 2e-3);
}

TEST_CASE("a row's result does not depend on the rows beside it; gradients are the same from run to run") {
  const Values x = normal(100 * 256, 1, DType::bfloat16), weight = normal(256, 2);
  const Tensor all = to_device(x, {100, 256}, DType::bfloat16), w = to_device(weight, {256}, DType::float32);
  const auto [y, mean, rstd] = native::layer_norm_forward(all, std::nullopt, w, w, kEps);
  const auto [part, part_mean, part_rstd] =
      native::layer_norm_forward(all.rows(90, 3), std::nullopt, w, w, kEps);
  expect_equal("rows 90 .. 92", part, to_host(y.rows(90, 3)));
  const auto run = [&, m = mean, r = rstd] {
    return native::layer_norm_backward(all, all, std::nullopt, w, m, r, std::nullopt);
  };
  const auto first = run(), second = run();
  expect_equal("dweight", std::get<2>(second), to_host(std::get<2>(first)));
  expect_equal("dbias", std::get<3>(second), to_host(std::get<3>(first)));
}

TEST_CASE("layer norm of no rows has gradients of zero") {
  const Tensor x = poisoned({0, 64}, DType::float32), w = to_device(Values(64, 1.0), {64}, DType::float32);
  const auto [y, mean, rstd] = native::layer_norm_forward(x, std::nullopt, w, w, kEps);
  const auto gradients = native::layer_norm_backward(y, x, std::nullopt, w, mean, rstd, std::nullopt);
  expect_equal("dweight", std::get<2>(gradients), Values(64, 0.0));
  expect_equal("dbias", std::get<3>(gradients), Values(64, 0.0));
}
