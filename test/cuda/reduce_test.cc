// Reductions and argmax: rows and columns, one part and several, whole vectors or not, NaN, empty dimensions.
#include "ops/reduce.h"

#include <cmath>

#include "check.h"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

using namespace check;
using native::ReduceOp;

namespace {

struct Extent {
  int64_t outer, length, inner;
};

// Rows for a warp, a block and several parts; columns for few lanes and many, one part and several.
const Extent kExtents[] = {{1, 1, 1},     {9, 5, 1},   {3, 400, 1},  {2, 2100, 1}, {2, 16640, 1},
                           {1, 40003, 1}, {2, 3, 2},   {3, 700, 4},  {2, 50, 24},  {1, 17, 256},
                           {1, 400, 264}, {2, 9, 257}, {2, 300, 40}, {1, 3000, 3}};

double combine(ReduceOp op, double a, double b) {
  if (op == ReduceOp::sum) return a + b;
  if (std::isnan(a) || std::isnan(b)) return std::nan("");
  return op == ReduceOp::max ? std::fmax(a, b) : std::fmin(a, b);
}

Values reference_of(ReduceOp op, const Values& x, const Extent& e, double scale) {
  Values y;
  for (int64_t o = 0; o < e.outer; ++o) {
    for (int64_t i = 0; i < e.inner; ++i) {
      double value = op == ReduceOp::sum ? 0 : x[static_cast<size_t>(o * e.length * e.inner + i)];
      for (int64_t l = 0; l < e.length; ++l) {
        value = combine(op, value, x[static_cast<size_t>((o * e.length + l) * e.inner + i)]);
      }
      y.push_back(op == ReduceOp::sum ? value * scale : value);
    }
  }
  return y;
}

Tensor run(ReduceOp op, const Values& x, const Extent& e, double scale, DType from, DType to,
           int64_t offset) {
  const Tensor operand = to_device(x, {e.outer, e.length, e.inner}, from, offset);
  const Tensor y = poisoned({e.outer, e.inner}, to, offset);
  native::launch(native::reduce_kernel,
                 native::ReduceArgs{operand.raw(), y.raw(), e.outer, e.length, e.inner,
                                    static_cast<float>(scale), op, from, to},
                 {&operand});
  return y;
}

std::string name_of(ReduceOp op, const Extent& e, DType from, DType to, int64_t offset) {
  return native::concat("op ", static_cast<int>(op), " ", native::dtype_name(from), " [", e.outer, ", ",
                        e.length, ", ", e.inner, "] to ", native::dtype_name(to), " at ", offset);
}

}  // namespace

TEST_CASE("sums, largest and smallest elements") {
  for (ReduceOp op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min}) {
    for (DType from : kFloats) {
      for (const Extent& e : kExtents) {
        const Values x = normal(e.outer * e.length * e.inner, 1, from);
        const auto reference = [&](const std::vector<Values>& v) { return reference_of(op, v[0], e, 0.25); };
        for (int64_t offset : {0, 1}) {
          if (offset && e.length > 3000) continue;
          // Operands are exact in their dtype, so float32 is the precision of the arithmetic.
          expect_close(name_of(op, e, from, DType::float32, offset),
                       run(op, x, e, 0.25, from, DType::float32, offset), reference({x}),
                       op == ReduceOp::sum ? allowed_error(reference, {x}, DType::float32) : 0);
        }
      }
    }
  }
}

TEST_CASE("many parts of few columns are combined in groups first") {
  // 128 rows are a part: 300 of them, combined by twos, the last by itself.
  const Extent e{1, 300 * 128 - 5, 17};
  const Values x = integers(e.length * e.inner, 1, -3, 4);
  for (ReduceOp op : {ReduceOp::sum, ReduceOp::min}) {
#ifdef CUDA_EMULATION
    emulation::reset_statistics();
#endif
    expect_equal("many parts", run(op, x, e, 1, DType::float32, DType::float32, 0),
                 reference_of(op, x, e, 1));
#ifdef CUDA_EMULATION
    CHECK(emulation::statistics().launches == 3);
#endif
  }
}

TEST_CASE("results are rounded once to the dtype asked for") {
  for (DType from : kFloats) {
    for (DType to : kFloats) {
      for (const Extent& e : {Extent{3, 64, 1}, Extent{2, 9, 40}, Extent{1, 40003, 1}}) {
        const Values x = integers(e.outer * e.length * e.inner, 1, 0, 4);  // sums are exact before rounding
        Values expected = reference_of(ReduceOp::sum, x, e, 0.5);
        for (double& value : expected) value = rounded(value, to);
        expect_equal(name_of(ReduceOp::sum, e, from, to, 0), run(ReduceOp::sum, x, e, 0.5, from, to, 0),
                     expected);
      }
    }
  }
}

TEST_CASE("NaN anywhere makes the largest and smallest NaN; infinities are numbers") {
  const double inf = HUGE_VAL;
  for (const Extent& e : {Extent{2, 700, 1}, Extent{2, 3000, 1}, Extent{1, 40003, 1}, Extent{2, 300, 40}}) {
    for (ReduceOp op : {ReduceOp::max, ReduceOp::min}) {
      for (int64_t at : {int64_t{0}, e.length / 2, e.length - 1}) {
        Values x(static_cast<size_t>(e.outer * e.length * e.inner), op == ReduceOp::max ? -inf : inf);
        x[static_cast<size_t>(at * e.inner)] = std::nan("");
        expect_equal("NaN", run(op, x, e, 1, DType::float32, DType::float32, 0), reference_of(op, x, e, 1));
      }
    }
  }
}

TEST_CASE("sums of nothing are zero, and nothing of nothing") {
  expect_equal("rows", run(ReduceOp::sum, {}, {3, 0, 1}, 1, DType::float32, DType::float32, 0), {0, 0, 0});
  expect_equal("columns", run(ReduceOp::sum, {}, {1, 0, 2}, 1, DType::float32, DType::float32, 0), {0, 0});
  expect_equal("no results", run(ReduceOp::max, {}, {0, 0, 2}, 1, DType::float32, DType::float32, 0), {});
}

TEST_CASE("argmax: first of equals, NaN before numbers, any axis") {
  for (DType dtype : kFloats) {
    for (const Extent& e : kExtents) {
      if (e.length > 3000) continue;
      Values x = integers(e.outer * e.length * e.inner, 3, -20, 20);  // many equals
      if (e.length > 10)
        x[static_cast<size_t>(7 * e.inner)] = x[static_cast<size_t>(9 * e.inner)] = std::nan("");
      Values expected;
      for (int64_t o = 0; o < e.outer; ++o) {
        for (int64_t i = 0; i < e.inner; ++i) {
          const auto at = [&](int64_t l) { return x[static_cast<size_t>((o * e.length + l) * e.inner + i)]; };
          int64_t best = 0;
          for (int64_t l = 1; l < e.length; ++l) {
            if (at(l) > at(best) || (std::isnan(at(l)) && !std::isnan(at(best)))) best = l;
          }
          expected.push_back(static_cast<double>(best));
        }
      }
      const Tensor operand = to_device(x, {e.outer, e.length, e.inner}, dtype, 1);
      expect_equal(name_of(ReduceOp::max, e, dtype, dtype, 1), native::argmax(operand, 1), expected);
    }
  }
  expect_equal("all -infinity", native::argmax(to_device(Values(40, -HUGE_VAL), {1, 40}, DType::float32), 1),
               {0});
}
