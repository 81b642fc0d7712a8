// Launches of the models' sizes, which have many more works than a card has blocks, so that kernels that stay
// go from one work to the next, and rings of stages round many times. The emulated device would take hours.
#ifndef CUDA_EMULATION
#include <algorithm>
#include <cmath>
#include <utility>

#include "attention.h"
#include "attention_reference.h"
#include "check.h"
#include "gemm/gemm_simt.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm90.h"
#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/layer_norm.h"
#include "ops/reduce.h"
#include "runtime/context.h"

using namespace check;
using namespace native::cuda;

namespace {

constexpr int64_t kSequences = 256, kQueries = 197, kKeys = 198, kHeads = 12, kDim = 768;
constexpr int64_t kRows = kSequences * kQueries;  // 50,432
constexpr DType kType = DType::bfloat16;
constexpr double kRounding = 0x1p-8;  // to it: relative

// Normal numbers that come again after a prime number of them, which no length of a row divides.
Values numbers(int64_t count, uint64_t seed) {
  const Values some = normal(1'000'003, seed, kType);
  Values all(static_cast<size_t>(count));
  for (size_t i = 0; i < all.size(); ++i) all[i] = some[i % some.size()];
  return all;
}

// The largest magnitude, found by the device; NaN if there is one.
double largest_of(const Tensor& x) {
  const Tensor flat = x.reshape({x.numel()});
  const double most = to_host(native::reduce("max", flat, {0}, DType::float32))[0];
  const double least = to_host(native::reduce("min", flat, {0}, DType::float32))[0];
  return std::isnan(most) ? most : std::max(most, -least);
}

void expect_near(const std::string& what, const Tensor& actual, const Tensor& expected, double allowed) {
  to_host(actual.rows(0, 1));  // looks at its margins
  const double distance = largest_of(native::binary("sub", actual, expected));
  CHECK_MESSAGE(distance <= allowed, what << " is off by " << distance << ", allowed " << allowed);
}

void on_device(const std::function<void()>& work) {
  native::backend(native::DeviceType::cuda).submit({"test", {}}, work);
  fence();
}

struct Product {
  std::string name;
  int64_t m, n, k;
  Major a, b;
  DType c_dtype;
  bool row_sum;
};

struct Way {
  std::string name;
  std::function<void(const GemmArgs&)> run;
};

// Each way in which the device can run a product: as the implementations choose, and by every tile of them.
std::vector<Way> ways_of(const GemmArgs& args) {
  std::vector<Way> ways;
  if (current_context().capability() >= 90 && gemm_sm90_supports(args)) {
    ways.push_back({"sm90", [](const GemmArgs& a) { gemm_sm90(a); }});
    for (int tile = 0; tile < kSm90TileKinds; ++tile) {
      for (const int cluster : {1, 2}) {
        const Sm90Choice choice{static_cast<Sm90TileKind>(tile), cluster};
        if (!gemm_sm90_supports(args, choice)) continue;
        ways.push_back({native::concat("sm90, tile ", tile, ", cluster ", cluster),
                        [choice](const GemmArgs& a) { gemm_sm90(a, choice); }});
      }
    }
  }
  if (gemm_sm80_supports(args)) {
    ways.push_back({"sm80", [](const GemmArgs& a) { gemm_sm80(a); }});
    for (int tile = 0; tile < static_cast<int>(gemm_sm80_tiles().size()); ++tile) {
      ways.push_back({native::concat("sm80, tile ", tile), [tile](const GemmArgs& a) {
                        gemm_sm80(a, {tile, 1});
                      }});
    }
  }
  return ways;
}

// By plain arithmetic, against sums in float64 at some places; then in every other way, against that.
void check_product(const Product& p) {
  const Values a = numbers(p.m * p.k, 1), b = numbers(p.n * p.k, 2);
  const bool a_by_k = p.a == Major::k, b_by_k = p.b == Major::k;
  const auto a_at = [&](int64_t i, int64_t k) {
    return a[static_cast<size_t>(a_by_k ? i * p.k + k : k * p.m + i)];
  };
  const auto b_at = [&](int64_t j, int64_t k) {
    return b[static_cast<size_t>(b_by_k ? j * p.k + k : k * p.n + j)];
  };
  const Tensor a_data = to_device(a, {p.m * p.k}, kType), b_data = to_device(b, {p.n * p.k}, kType);
  GemmArgs args{};
  args.m = p.m, args.n = p.n, args.k = p.k, args.batch = 1;
  args.dtype = kType, args.c_dtype = p.c_dtype;
  args.a = {a_data.raw(), p.a, a_by_k ? p.k : p.m};
  args.b = {b_data.raw(), p.b, b_by_k ? p.k : p.n};
  args.c_pitch = p.n, args.c_batch_stride = p.m * p.n;
  const auto results_of = [&](const std::function<void(const GemmArgs&)>& run) {
    const std::pair<Tensor, Tensor> results{poisoned({p.m, p.n}, p.c_dtype), poisoned({p.m}, DType::float32)};
    GemmArgs now = args;
    now.c = results.first.raw();
    if (p.row_sum) now.epilogue.row_sum = results.second.data<float>();
    on_device([&] { run(now); });
    return results;
  };

  const auto [plain, plain_sums] = results_of([](const GemmArgs& x) { gemm_simt(x); });
  const double cut_off = 0x1p-23 * static_cast<double>(p.k) / 8;  // by tensor cores, with every 8 products
  const double allowed = ((p.c_dtype == kType ? kRounding : 0) + cut_off) * largest_of(plain);
  const Values c = to_host(plain), rows = integers(500, 3, 0, p.m), columns = integers(500, 4, 0, p.n);
  Values actual, expected;
  for (size_t at = 0; at < rows.size(); ++at) {
    const int64_t i = at ? static_cast<int64_t>(rows[at]) : p.m - 1,
                  j = at ? static_cast<int64_t>(columns[at]) : p.n - 1;
    double sum = 0;
    for (int64_t k = 0; k < p.k; ++k) sum += a_at(i, k) * b_at(j, k);
    actual.push_back(c[static_cast<size_t>(i * p.n + j)]);
    expected.push_back(sum);
  }
  const std::string wrong = difference(actual, expected, allowed);
  CHECK_MESSAGE(wrong.empty(), p.name << " by plain arithmetic: " << wrong);
  Values sums(static_cast<size_t>(p.row_sum ? p.m : 0));
  for (int64_t k = 0; k < p.k; ++k) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += a_at(static_cast<int64_t>(i), k);
  }
  const double sums_allowed = cut_off * 4 * std::sqrt(static_cast<double>(p.k));
  if (p.row_sum) expect_close("row sums by plain arithmetic", plain_sums, sums, sums_allowed);

  for (const Way& way : ways_of(args)) {
    const std::string name = native::concat(p.name, " by ", way.name);
    const auto [other, other_sums] = results_of(way.run);
    expect_near(name, other, plain, 2 * allowed);
    if (p.row_sum) expect_close(name + ", row sums", other_sums, sums, sums_allowed);
  }
}

struct Attended {
  Tensor out, log_sum, dq, dk, dv;
};

// Columns and rows of a layer norm in float64: what is subtracted from an element and what that is multiplied
// by.
struct Statistics {
  double mean, rstd;
};
Statistics statistics_of(const double* x) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < kDim; ++i) sum += x[i];
  const double mean = sum / kDim;
  for (int64_t i = 0; i < kDim; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / kDim + 1e-5)};
}

}  // namespace

TEST_CASE("a product of the models' size, in every way") {
  check_product({"forward", kRows, kDim, kDim, Major::k, Major::k, kType, false});
}

TEST_CASE("an input gradient of the models' size, in every way") {
  check_product({"input gradient", kRows, kDim, kDim, Major::k, Major::mn, kType, false});
}

TEST_CASE("a weight gradient of the models' size, in every way") {
  check_product({"weight gradient", kDim, kDim, kRows, Major::mn, Major::mn, DType::float32, true});
}

// By plain arithmetic, of which the last sequence is held against float64; then on tensor cores, against
// that.
TEST_CASE("attention of the models' size, forward and backward, in every way") {
  const int64_t of_queries = kQueries * kDim, of_keys = kKeys * kDim;
  const attention_test::Operands x{numbers(kSequences * of_queries, 1), numbers(kSequences * of_keys, 2),
                                   numbers(kSequences * of_keys, 3), numbers(kSequences * of_queries, 4)};
  const native::Shape queries{kSequences, kQueries, kDim}, keys{kSequences, kKeys, kDim};
  const Tensor q = to_device(x.q, queries, kType), k = to_device(x.k, keys, kType),
               v = to_device(x.v, keys, kType), dout = to_device(x.dout, queries, kType);
  using Forward = void (*)(const native::AttentionArgs&);
  using Backward = void (*)(const native::AttentionBackwardArgs&);
  const auto run = [&](Forward forward, Backward backward) {
    const Attended y{poisoned(queries, kType), poisoned({kSequences, kHeads, kQueries}, DType::float32),
                     poisoned(queries, kType), poisoned(keys, kType), poisoned(keys, kType)};
    const native::AttentionArgs args{q.raw(),    k.raw(),       v.raw(),
                                     of_queries, kDim,          of_keys,
                                     kDim,       y.out.raw(),   y.log_sum.data<float>(),
                                     kSequences, kHeads,        kQueries,
                                     kKeys,      kDim / kHeads, false,
                                     kType};
    on_device([&] {
      forward(args);
      backward({args, dout.raw(), y.dq.raw(), y.dk.raw(), y.dv.raw(), kQueries});
    });
    return y;
  };
  const Attended plain = run(attention_forward_scalar, attention_backward_scalar);

  const auto last = [](const Values& values) {
    return Values(values.end() - static_cast<ptrdiff_t>(values.size()) / kSequences, values.end());
  };
  const attention_test::Results truth = attention_test::reference<double>(
      {1, kHeads, kQueries, kKeys, kDim / kHeads}, {last(x.q), last(x.k), last(x.v), last(x.dout)},
      [](double value) { return value; });
  const auto compare = [&](const std::string& name, Tensor Attended::*part, const Values& expected,
                           double roundings) {
    const double allowed = roundings * kRounding * largest_of(plain.*part);
    const std::string wrong = difference(last(to_host(plain.*part)), expected, allowed);
    CHECK_MESSAGE(wrong.empty(), name << " by plain arithmetic: " << wrong);
    return allowed;
  };
  const double out = compare("out", &Attended::out, truth.out, 1),
               log_sum = compare("log_sum", &Attended::log_sum, truth.log_sum, 0x1p-10),
               dq = compare("dq", &Attended::dq, truth.dq, 2), dk = compare("dk", &Attended::dk, truth.dk, 2),
               dv = compare("dv", &Attended::dv, truth.dv, 2);
  const auto expect_same = [&](const std::string& name, const Attended& actual) {
    const auto text = [&](const char* what) { return what + (" by " + name); };
    expect_near(text("out"), actual.out, plain.out, 2 * out);
    expect_near(text("log_sum"), actual.log_sum, plain.log_sum, 2 * log_sum);
    expect_near(text("dq"), actual.dq, plain.dq, 2 * dq);
    expect_near(text("dk"), actual.dk, plain.dk, 2 * dk);
    expect_near(text("dv"), actual.dv, plain.dv, 2 * dv);
  };
  expect_same("mma.sync", run(attention_forward_tensor_cores, attention_backward_tensor_cores));
  if (current_context().capability() >= 90)
    expect_same("a warpgroup", run(attention_forward_sm90, attention_backward_tensor_cores));
}

TEST_CASE("layer norm backward of the models' size") {
  const Values x = numbers(kRows * kDim, 1), dy = numbers(kRows * kDim, 2), weight = normal(kDim, 3);
  const native::Shape shape{kRows, kDim};
  const Tensor x_data = to_device(x, shape, kType), dy_data = to_device(dy, shape, kType),
               w = to_device(weight, {kDim}, DType::float32);
  const auto [y, mean, rstd] = native::layer_norm_forward(x_data, std::nullopt, w, w, 1e-5);
  const Tensor dx = poisoned(shape, kType), dweight = poisoned({kDim}, DType::float32),
               dbias = poisoned({kDim}, DType::float32);
  native::launch(
      native::layer_norm_backward_kernel,
      native::LayerNormBackwardArgs{dy_data.raw(), x_data.raw(), nullptr, w.data<float>(), mean.data<float>(),
                                    rstd.data<float>(), nullptr, dx.raw(), nullptr, dweight.data<float>(),
                                    dbias.data<float>(), kRows, 1, kDim, kType},
      {&dy_data, &x_data});
  const auto dim = static_cast<size_t>(kDim);
  Values dweights(dim), dbiases(dim), dxs(x.size());
  for (size_t row = 0; row < static_cast<size_t>(kRows); ++row) {
    const double *from = x.data() + row * dim, *slope = dy.data() + row * dim;
    const Statistics s = statistics_of(from);
    double sum = 0, dot = 0;
    for (size_t i = 0; i < dim; ++i) {
      const double normal = (from[i] - s.mean) * s.rstd;
      dweights[i] += slope[i] * normal;
      dbiases[i] += slope[i];
      sum += slope[i] * weight[i] / kDim;
      dot += slope[i] * weight[i] * normal / kDim;
    }
    for (size_t i = 0; i < dim; ++i) {
      const double normal = (from[i] - s.mean) * s.rstd;
      dxs[row * dim + i] = s.rstd * (weight[i] * slope[i] - sum - normal * dot);
    }
  }
  const double largest = std::abs(*std::max_element(
      dxs.begin(), dxs.end(), [](double a, double b) { return std::abs(a) < std::abs(b); }));
  expect_close("dx", dx, dxs, kRounding * largest);
  // Roundings of float32 sums of so many numbers around 1.
  expect_close("dweight", dweight, dweights, 4 * 0x1p-24 * kRows);
  expect_close("dbias", dbias, dbiases, 4 * 0x1p-24 * kRows);
}
#endif
