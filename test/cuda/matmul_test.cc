// Batched products on the device: transpositions, shared operands, sums over the batch.
#include "ops/matmul.h"

#include "check.h"

using namespace check;

namespace {

struct Case {
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b, share_a, share_b, sum_batch;
  int64_t offset;
};

Values reference(const Case& c, const Values& a, const Values& b, double alpha) {
  Values y(static_cast<size_t>((c.sum_batch ? 1 : c.batch) * c.m * c.n));
  for (int64_t batch = 0; batch < c.batch; ++batch) {
    const int64_t a_matrix = c.share_a ? 0 : batch * c.m * c.k, b_matrix = c.share_b ? 0 : batch * c.k * c.n;
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < c.k; ++k) {
          sum += a[static_cast<size_t>(a_matrix + (c.transpose_a ? k * c.m + i : i * c.k + k))] *
                 b[static_cast<size_t>(b_matrix + (c.transpose_b ? j * c.k + k : k * c.n + j))];
        }
        y[static_cast<size_t>(((c.sum_batch ? 0 : batch) * c.m + i) * c.n + j)] += alpha * sum;
      }
    }
  }
  return y;
}

void check_case(const Case& c, DType dtype) {
  const int64_t a_batch = c.share_a ? 1 : c.batch, b_batch = c.share_b ? 1 : c.batch;
  const Values a = normal(a_batch * c.m * c.k, 1, dtype), b = normal(b_batch * c.k * c.n, 2, dtype);
  const Tensor ad =
      to_device(a, {a_batch, c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k}, dtype, c.offset);
  const Tensor bd =
      to_device(b, {b_batch, c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n}, dtype, c.offset);
  const double alpha = 0.25;
  const Reference f = [&](const std::vector<Values>& v) { return reference(c, v[0], v[1], alpha); };
  const std::string name =
      native::concat(native::dtype_name(dtype), " ", c.batch, " x [", c.m, ", ", c.n, ", ", c.k, "] ",
                     c.transpose_a, c.transpose_b, c.share_a, c.share_b, c.sum_batch, " at ", c.offset);
  expect_close(name, native::matmul_forward(ad, bd, c.transpose_a, c.transpose_b, alpha, c.sum_batch),
               f({a, b}), allowed_error(f, {a, b}, dtype));
}

}  // namespace

TEST_CASE("matmul_forward: every transposition and way of sharing") {
  int index = 0;
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      for (const bool sum_batch : {false, true}) {
        for (const int shared : {0, 1, 2}) {
          const Case c{3, 24, 40, 16, transpose_a, transpose_b, shared == 1, shared == 2, sum_batch, 0};
          check_case(c, kFloats[index % 3]);
          Case odd = c;
          odd.m = 13;
          odd.n = 9;
          odd.k = 21;
          odd.offset = 1;
          check_case(odd, kFloats[++index % 3]);
        }
      }
    }
  }
}

TEST_CASE("matmul_forward: empty sizes") {
  for (const DType dtype : kFloats) {
    check_case({2, 3, 4, 0, false, false, false, false, false, 0}, dtype);
    check_case({2, 0, 4, 5, false, true, false, false, false, 0}, dtype);
    check_case({0, 3, 4, 5, false, false, false, false, false, 0}, dtype);
    check_case({0, 3, 4, 5, false, true, false, false, true, 0}, dtype);
    check_case({0, 3, 4, 5, true, false, false, false, true, 0}, dtype);
  }
}
