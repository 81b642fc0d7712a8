// Products of float32 matrices on tensor cores, their operands rounded to tf32: against float64, with the
// error of plain loops over rounded operands for a bound; and only where that is allowed.
#include <array>
#include <cmath>
#include <limits>

#include "core/precision.h"
#include "gemm/gemm_choice.h"
#include "gemm/gemm_simt.h"
#include "gemm/gemm_sm80.h"
#include "gemm_problem.h"
#include "ops/linear.h"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

using namespace native::cuda;
using gemm_test::expect_correct;
using gemm_test::Problem;
using native::DType;

namespace {

constexpr Major kMajors[] = {Major::k, Major::mn};

struct AllowTf32 {
  AllowTf32() { native::set_allow_tf32(true); }
  ~AllowTf32() { native::set_allow_tf32(false); }
};

Problem rounded(Problem p) {
  p = gemm_test::aligned_rows(p);
  p.tf32 = true;
  return p;
}

Problem product(int64_t m, int64_t n, int64_t k, Major a = Major::k, Major b = Major::k) {
  Problem p{m, n, k, DType::float32};
  p.a = a;
  p.b = b;
  return p;
}

auto tensor_cores(int kind, int slabs = 1) {
  return [kind, slabs](const GemmArgs& args) {
    if (!gemm_sm80_supports(args)) native::fail("ERR_INTERNAL", "gemm_sm80 does not take these arguments");
    gemm_sm80(args, {kind, slabs});
  };
}

int kinds() { return static_cast<int>(gemm_sm80_tiles(DType::float32).size()); }

// One epilogue after the other, in the combinations that layers use and some more.
Problem with_epilogue(Problem p, int index) {
  p.bias = index == 1 || index == 2 || index == 3 || index == 6;
  p.quick_gelu = index == 2 || index == 6;
  p.slope = index == 2;
  p.residual = index == 3 || index == 6;
  p.multiplier = index == 4 || index == 6;
  if (index == 5) p.alpha = -0.125f;
  p.accumulate = index == 7;
  return p;
}

}  // namespace

TEST_CASE("gemm tf32: every tile and transposition, at sizes around the tile, with every epilogue") {
  const AllowTf32 allowed;
  int index = 0;
  for (int kind = 0; kind < kinds(); ++kind) {
    const TileKind tile = gemm_sm80_tiles(DType::float32)[static_cast<size_t>(kind)];
    const std::array<std::array<int64_t, 3>, 4> shapes = {{{tile.m, tile.n, 2 * tile.depth},
                                                           {tile.m - 1, tile.n + 1, tile.depth - 1},
                                                           {tile.m + 1, tile.n - 1, 5 * tile.depth + 1},
                                                           {3, 5, 7}}};
    for (const Major a : kMajors) {
      for (const Major b : kMajors) {
        for (const auto& [m, n, k] : shapes) {
          expect_correct(rounded(with_epilogue(product(m, n, k, a, b), index++ % 8)), tensor_cores(kind));
        }
      }
    }
    for (int epilogue = 0; epilogue < 8; ++epilogue) {  // also where C takes no vectors
      Problem p = rounded(with_epilogue(product(70, 67, 24), epilogue));
      p.gap_c = epilogue % 2 ? 5 : 0;
      expect_correct(p, tensor_cores(kind));
    }
  }
}

TEST_CASE("gemm tf32: slabs are added in order; row sums are of elements as they are") {
  const AllowTf32 allowed;
  for (int kind = 0; kind < kinds(); ++kind) {
    for (const int slabs : {1, 3}) {
      Problem p = product(72, 40, 199, Major::mn, Major::mn);
      p.row_sum = true;
      p.accumulate = slabs == 3;
      p.accumulate_row_sum = slabs == 1;
      expect_correct(rounded(p), tensor_cores(kind, slabs));
    }
  }
  Problem p = product(136, 72, 3 * 64 + 8);
  p.bias = p.quick_gelu = p.slope = p.residual = true;
  expect_correct(rounded(p), tensor_cores(0, 2));
}

TEST_CASE("gemm tf32: batches, shared operands, sums over the batch") {
  const AllowTf32 allowed;
  for (const Major major : kMajors) {
    Problem p = product(40, 48, 70, major, major);
    p.batch = 3;
    expect_correct(rounded(p), tensor_cores(1));
    p.share_a = true;
    expect_correct(rounded(p), tensor_cores(1));
    p.share_a = false;
    p.sum_batch = true;
    expect_correct(rounded(p), tensor_cores(1));
  }
}

TEST_CASE(
    "gemm tf32: taken where it is allowed and rows start on 16 bytes; else the bits of plain arithmetic") {
  const gemm_test::Run simt = [](const GemmArgs& args) { gemm_simt(args); };
  std::optional<GemmChoice> chosen;
  const gemm_test::Run look = [&](const GemmArgs& args) {
    chosen = choose_gemm(args);
    gemm(args);
  };
  for (const Major a : kMajors) {
    for (const Major b : kMajors) {
      const Problem p = rounded(product(132, 68, 300, a, b));
      const check::Values plain = gemm_test::result_of(p, simt);
      CHECK(gemm_test::result_of(p, look) == plain);
      CHECK(!chosen);
      const AllowTf32 allowed;
      expect_correct(p, look);
      REQUIRE(chosen);
      CHECK(chosen->kernels == 80);
      const check::Values first = gemm_test::result_of(p, look);
      CHECK(first != plain);
      CHECK(gemm_test::result_of(p, look) == first);
      Problem view = p;
      view.gap_a += 1;
      CHECK(gemm_test::result_of(view, look) == gemm_test::result_of(view, simt));
      CHECK(!chosen);
    }
  }
}

TEST_CASE("gemm tf32: what is infinite or no number stays so") {
  const AllowTf32 allowed;
  const native::Tensor weight = check::to_device({1, 0, 0, 0, 0, 1, 0, 0}, {2, 4}, DType::float32);
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const native::Tensor x =
      check::to_device({1e30, -3, 0, 0, infinity, 2, 0, 0, nan, 5, 0, 0}, {3, 4}, DType::float32);
  const native::Tensor y =
      std::get<0>(native::linear_forward(x, weight, std::nullopt, std::nullopt, "none", false));
  const check::Values values = check::to_host(y);
  CHECK(values[0] == doctest::Approx(1e30).epsilon(1.0 / 2048));
  CHECK(values[1] == -3);
  CHECK(values[2] == infinity);
  CHECK(std::isnan(values[3]));  // infinity times 0
  CHECK(std::isnan(values[4]));
  CHECK(std::isnan(values[5]));
}

#ifdef CUDA_EMULATION

TEST_CASE("gemm tf32: fragments by k are read without bank conflicts") {
  const AllowTf32 allowed;
  for (int kind = 0; kind < kinds(); ++kind) {
    emulation::reset_statistics();
    expect_correct(rounded(product(72, 80, 136)), tensor_cores(kind));
    CHECK(emulation::statistics().launches == 1);
    CHECK(emulation::statistics().bank_conflicts == 0);
  }
}

#endif
