// Every implementation of the matrix product against float64: shapes around its tiles, all majors, all
// epilogues, views, and equal bits from run to run. gemm_sm90 has a file of its own.
#include <array>

#include "gemm/gemm_simt.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm90.h"
#include "gemm/measured_tiles.h"
#include "gemm_problem.h"
#include "runtime/context.h"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

using namespace native::cuda;
using gemm_test::aligned_rows;
using gemm_test::expect_correct;
using gemm_test::Problem;
using native::DType;

namespace {

constexpr Major kMajors[] = {Major::k, Major::mn};

auto tensor_cores(int kind, int slabs = 1) {
  return [kind, slabs](const GemmArgs& args) {
    if (!gemm_sm80_supports(args)) native::fail("ERR_INTERNAL", "gemm_sm80 does not take these arguments");
    gemm_sm80(args, {kind, slabs});
  };
}

void simt(const GemmArgs& args) { gemm_simt(args); }

// One epilogue after the other, in the combinations that layers use and some more.
Problem with_epilogue(Problem p, int index) {
  switch (index % 8) {
    case 1:
      p.bias = true;
      break;
    case 2:
      p.bias = p.quick_gelu = p.slope = true;
      break;
    case 3:
      p.bias = p.residual = true;
      break;
    case 4:
      p.multiplier = true;
      break;
    case 5:
      p.alpha = -0.125f;
      break;
    case 6:
      p.bias = p.quick_gelu = p.residual = p.multiplier = true;
      break;
    case 7:
      p.c_dtype = DType::float32;
      p.accumulate = true;
      break;
  }
  return p;
}

// All tiles, majors and dtypes at sizes around the tile; sums shorter and longer than what the stages hold.
void check_tile(int kind) {
  const TileKind tile = gemm_sm80_tiles()[static_cast<size_t>(kind)];
  int index = 0;
  for (const Major a : kMajors) {
    for (const Major b : kMajors) {
      const std::array<std::array<int64_t, 3>, 3> shapes = {{{tile.m, tile.n, 2 * tile.depth},
                                                             {tile.m - 1, tile.n + 1, tile.depth - 1},
                                                             {tile.m + 1, tile.n - 1, 5 * tile.depth + 1}}};
      for (const auto& [m, n, k] : shapes) {
        Problem p{m, n, k, index % 3 ? DType::bfloat16 : DType::float16};
        p.a = a;
        p.b = b;
        expect_correct(with_epilogue(aligned_rows(p), index), tensor_cores(kind));
        ++index;
      }
    }
  }
}

}  // namespace

TEST_CASE("gemm_sm80: every tile, at sizes around it") {
  for (int kind = 0; kind < static_cast<int>(gemm_sm80_tiles().size()); ++kind) check_tile(kind);
}

TEST_CASE("gemm_sm80: sums shorter and longer than the ring of stages") {
  const int kind = static_cast<int>(gemm_sm80_tiles().size()) - 1;
  const int depth = gemm_sm80_tiles()[static_cast<size_t>(kind)].depth;
  for (const int64_t k :
       {0, 1, 8, depth, 2 * depth, 2 * depth + 1, 3 * depth, 3 * depth + 1, 4 * depth, 9 * depth + 5}) {
    for (const Major major : kMajors) {
      Problem p{24, 40, k};
      p.a = p.b = major;
      p.bias = true;
      expect_correct(aligned_rows(p), tensor_cores(kind));
    }
  }
}

TEST_CASE("gemm_sm80: many tiles, in bands, with tails in all directions") {
  const int kind = static_cast<int>(gemm_sm80_tiles().size()) - 1;
  const TileKind tile = gemm_sm80_tiles()[static_cast<size_t>(kind)];
  expect_correct(aligned_rows({9 * tile.m + 5, 2 * tile.n + 5, 40}), tensor_cores(kind));
  expect_correct(aligned_rows({3 * tile.m + 5, 3 * tile.n + 5, 40}), tensor_cores(kind));
}

TEST_CASE("gemm_sm80: every epilogue, also where C takes no vectors") {
  for (int index = 0; index < 8; ++index) {
    for (const int64_t offset : {0, 3}) {
      Problem p =
          with_epilogue(aligned_rows({70, 67, 24, index % 2 ? DType::bfloat16 : DType::float16}), index);
      p.gap_c = offset ? 0 : 5;
      expect_correct(p, tensor_cores(3));
    }
  }
}

TEST_CASE("gemm_sm80: slabs are added in order, row sums too") {
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (int kind = 0; kind < static_cast<int>(gemm_sm80_tiles().size()); ++kind) {
      for (const int slabs : {1, 3}) {
        Problem p{72, 40, 199, dtype};
        p.a = p.b = Major::mn;
        p.c_dtype = DType::float32;
        p.row_sum = true;
        p.accumulate = slabs == 3;
        p.accumulate_row_sum = slabs == 1;
        expect_correct(aligned_rows(p), tensor_cores(kind, slabs));
      }
    }
    Problem forward{72, 72, 256, dtype};
    forward.bias = forward.quick_gelu = forward.slope = forward.residual = true;
    expect_correct(forward, tensor_cores(3, 2));
  }
  expect_correct({72, 72, 64}, tensor_cores(3, 5));  // more slabs than steps: empty ones
}

TEST_CASE("gemm_sm80: batches, shared operands, sums over the batch") {
  Problem p = aligned_rows({40, 48, 70});
  p.batch = 3;
  for (const int slabs : {1, 2}) {
    expect_correct(p, tensor_cores(3, slabs));
    p.share_a = true;
    expect_correct(p, tensor_cores(3, slabs));
    p.share_b = true;
    p.share_a = false;
    expect_correct(p, tensor_cores(3, slabs));
    p.share_b = false;
    p.sum_batch = true;
    expect_correct(p, tensor_cores(3, slabs));
    p.a = p.b = Major::mn;
    expect_correct(aligned_rows(p), tensor_cores(3, slabs));
    p.a = p.b = Major::k;
    p.sum_batch = false;
  }
}

TEST_CASE("gemm_sm80: views of aligned matrices; others it does not take") {
  Problem p{33, 24, 40};
  p.gap_a = 24;
  p.gap_b = 8;
  p.gap_c = 16;
  p.offset = 8;
  expect_correct(p, tensor_cores(3));
  GemmArgs args{};
  args.dtype = DType::bfloat16;
  args.a = args.b = {nullptr, Major::k, 64};
  CHECK(gemm_sm80_supports(args));
  args.a.pitch = 65;
  CHECK(!gemm_sm80_supports(args));
  args.a.pitch = 64;
  args.b.batch_stride = 4;
  CHECK(!gemm_sm80_supports(args));
  args.b.batch_stride = 0;
  args.b.data = reinterpret_cast<const void*>(8);
  CHECK(!gemm_sm80_supports(args));
  args.b.data = nullptr;
  args.dtype = DType::float32;
  CHECK(!gemm_sm80_supports(args));
}

TEST_CASE("gemm_simt: dtypes, majors and odd views") {
  int index = 0;
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    for (const Major a : kMajors) {
      for (const Major b : kMajors) {
        Problem p{65, 70, 37, dtype};
        p.a = a;
        p.b = b;
        p.offset = index % 2;
        p.gap_a = index % 3;
        p.gap_b = index % 5;
        p.gap_c = index % 4;
        expect_correct(with_epilogue(p, index++), simt);
      }
    }
  }
}

TEST_CASE("gemm_simt: the large tile, slabs, row sums, batches, nothing to sum") {
  const auto large = [](const GemmArgs& args) { gemm_simt(args, {0, 1}); };
  const auto small_in_slabs = [](const GemmArgs& args) { gemm_simt(args, {1, 3}); };
  for (const Major major : kMajors) {
    Problem p{129, 140, 20, DType::float32};
    p.a = p.b = major;
    p.bias = true;
    expect_correct(p, large);
    for (const DType dtype : {DType::bfloat16, DType::float16}) {
      Problem half{129, 140, 20, dtype};
      half.a = major;
      half.b = Major::k;
      half.bias = half.residual = true;
      half.offset = 1;
      expect_correct(half, large);
    }
    Problem weight{40, 36, 133, DType::float32};
    weight.a = weight.b = major;
    weight.row_sum = weight.accumulate = weight.accumulate_row_sum = true;
    expect_correct(weight, small_in_slabs);
    weight.dtype = DType::bfloat16;
    expect_correct(weight, small_in_slabs);
    Problem batched{33, 20, 30, DType::float32};
    batched.a = batched.b = major;
    batched.batch = 3;
    expect_correct(batched, simt);
    batched.sum_batch = true;
    expect_correct(batched, simt);
    expect_correct(batched, small_in_slabs);
  }
  Problem nothing{5, 3, 0, DType::float32};
  nothing.bias = nothing.residual = true;
  expect_correct(nothing, simt);
  expect_correct({1, 1, 1, DType::float32}, simt);
  expect_correct({1, 129, 1, DType::float32}, simt);
  expect_correct({129, 1, 9, DType::float32}, simt);
}

TEST_CASE("gemm: takes every shape, and the same bits come out again") {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    expect_correct({3, 5, 7, dtype}, gemm);
    expect_correct({130, 1, 24, dtype}, gemm);
    expect_correct({64, 72, 0, dtype}, gemm);
    Problem weight{64, 64, 600, dtype};
    weight.a = weight.b = Major::mn;
    weight.c_dtype = DType::float32;
    weight.row_sum = true;
    expect_correct(weight, gemm);
    const check::Values first = gemm_test::result_of(weight, gemm);
    CHECK(first == gemm_test::result_of(weight, gemm));
  }
  gemm_test::find_error({0, 5, 7}, gemm);
}

TEST_CASE("gemm: large products of rows that start anywhere go through aligned copies") {
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const Major major : kMajors) {
      Problem p{67, 130, 253, dtype};
      p.a = p.b = major;
      p.batch = 2;
      p.share_b = true;
      p.offset = 1;
      p.gap_a = 2;
#ifdef CUDA_EMULATION
      emulation::reset_statistics();
#endif
      expect_correct(p, gemm);
#ifdef CUDA_EMULATION
      CHECK(emulation::statistics().launches >= 3);  // two copies and the product
#endif
    }
  }
}

TEST_CASE("gemm: a product takes what was measured for its shape, where that can run") {
  const int capability = current_context().capability(),
            multiprocessors = current_context().multiprocessors();
  Problem p{136, 72, 9 * 64};
  p.a = p.b = Major::mn;
  p.c_dtype = DType::float32;
  std::optional<GemmChoice> chosen;
  const gemm_test::Run look = [&](const GemmArgs& args) {
    chosen = choose_gemm(args);
    gemm(args);
  };
  const auto same = [&](const GemmChoice& choice) { return chosen == choice; };
  expect_correct(p, look);
  const std::optional<GemmChoice> estimated = chosen;
  std::vector<GemmChoice> others = {{80, 3, 1, 5}};
  if (capability >= 90) {
    others.push_back({90, 3, 2, 3});
    others.push_back({90, 3, 2, 3, true});
  }
  std::vector<MeasuredTile>& table = measured_tiles();
  const size_t rows = table.size();
  for (const GemmChoice& choice : others) {
    table.push_back({capability, multiprocessors, ProductKind::weight, p.m, p.n, p.k, choice});
    expect_correct(p, look);
    CHECK(same(choice));
    // Sums of other slabs, so other bits than any other choice has.
    const gemm_test::Run directly = [&](const GemmArgs& args) { run_gemm(args, choice); };
    CHECK(gemm_test::result_of(p, look) == gemm_test::result_of(p, directly));
    // Any other shape, kind, card.
    const MeasuredTile row = table.back();
    const auto ignored = [&](auto&& change) {
      table.back() = row;
      change(table.back());
      gemm_test::result_of(p, look);
      CHECK(same(*estimated));
    };
    ignored([](MeasuredTile& r) { r.m += 8; });
    ignored([](MeasuredTile& r) { r.kind = ProductKind::forward; });
    ignored([](MeasuredTile& r) { r.multiprocessors += 1; });
    ignored([](MeasuredTile& r) { r.capability += 1; });
    table.resize(rows);
  }
  // Rows that start anywhere are copied first, and then it can run.
  table.push_back({capability, multiprocessors, ProductKind::forward, 200, 200, 264, {80, 1, 1, 1}});
  Problem view{200, 200, 264};
  view.gap_a = 1;
  expect_correct(view, look);
  CHECK(!chosen);
  table.resize(rows);
}

TEST_CASE("gemm: every row of the measured table names a tile there is, once") {
  const std::vector<MeasuredTile>& table = measured_tiles();
  for (size_t i = 0; i < table.size(); ++i) {
    const MeasuredTile& row = table[i];
    const bool wgmma = row.choice.kernels == 90;
    CHECK((wgmma || row.choice.kernels == 80));
    CHECK(row.choice.kernels <= row.capability);
    CHECK(row.choice.tile >= 0);
    CHECK(row.choice.tile < (wgmma ? kSm90TileKinds : static_cast<int>(gemm_sm80_tiles().size())));
    CHECK((row.choice.cluster == 1 || (wgmma && row.choice.cluster == 2)));
    CHECK(row.choice.slabs >= 1);
    for (size_t j = 0; j < i; ++j) {
      const MeasuredTile& other = table[j];
      CHECK(!(row.capability == other.capability && row.multiprocessors == other.multiprocessors &&
              row.kind == other.kind && row.m == other.m && row.n == other.n && row.k == other.k));
    }
  }
}

TEST_CASE("gemm: refuses what no implementation means") {
  GemmArgs args{};
  args.m = args.n = args.k = args.batch = 1;
  args.dtype = args.c_dtype = DType::bfloat16;
  args.epilogue.accumulate = true;
  CHECK_THROWS_WITH_AS(gemm(args), doctest::Contains("only float32 accumulates"), native::Error);
  args.epilogue.accumulate = false;
  args.c_dtype = DType::float16;
  CHECK_THROWS_WITH_AS(gemm(args), doctest::Contains("bfloat16 into float16"), native::Error);
  args.c_dtype = DType::bfloat16;
  for (int64_t* size : {&args.m, &args.n, &args.k}) {  // the last tile would end behind what 32 bits count
    *size = (int64_t{1} << 31) - 511;
    CHECK_THROWS_WITH_AS(gemm(args), doctest::Contains("2^31 - 512"), native::Error);
    *size = 1;
  }
}

#ifdef CUDA_EMULATION

namespace {

// Whether a run with this seed of the emulation's order gives wrong numbers or a report.
bool goes_wrong(const Problem& problem, const gemm_test::Run& run, uint64_t seed) {
  emulation::set_seed(seed);
  std::string wrong;
  const std::string report = check::error_of([&] { wrong = gemm_test::find_error(problem, run, seed); });
  return !wrong.empty() || !report.empty();
}

// Leaves out every barrier and wait of the files that `part` names, one at a time; all of them must be
// missed, but for `spare` of them.
void expect_all_needed(const std::string& part, const Problem& problem, const gemm_test::Run& run,
                       int spare) {
  emulation::forget_sites();
  CHECK(gemm_test::find_error(problem, run) == "");
  int found = 0, needless = 0;
  for (const emulation::SiteRecord& site : emulation::sites()) {
    if (site.file.find(part) == std::string::npos) continue;
    emulation::skip(site.file, site.line);
    bool missed = false;
    for (uint64_t seed = 1; seed <= 8 && !missed; ++seed) missed = goes_wrong(problem, run, seed);
    emulation::skip_nothing();
    ++found;
    if (!missed) {
      ++needless;
      MESSAGE(site.what << " at " << site.file << ":" << site.line << " is not missed");
    }
  }
  emulation::set_seed(1);
  CHECK(found > spare);
  CHECK(needless == spare);
}

}  // namespace

TEST_CASE("gemm_sm80: every barrier and wait is needed") {
  Problem p{64, 64,
            64 * 8};  // the copy that is on its way at the end is into the stage that the epilogue takes
  p.bias = true;
  // Nobody misses the wait before the epilogue: emulated copies arrive at waits only, so without it never.
  expect_all_needed("gemm_sm80", p, tensor_cores(3), 1);
}

TEST_CASE("gemm_simt: every barrier is needed") {
  expect_all_needed("gemm_simt", {64, 64, 16 * 5, DType::float32}, simt, 0);
}

TEST_CASE("gemm: a block or a thread too few is found") {
  for (const emulation::Plant mistake :
       {emulation::Plant::last_block_missing, emulation::Plant::last_thread_missing}) {
    emulation::plant(mistake);
    CHECK(goes_wrong({70, 70, 64}, tensor_cores(3), 1));
    CHECK(goes_wrong({70, 70, 64}, tensor_cores(3, 2), 1));
    CHECK(goes_wrong({70, 70, 64, DType::float32}, simt, 1));
    emulation::plant(emulation::Plant::nothing);
  }
}

TEST_CASE("gemm_sm80: fragments are read without bank conflicts") {
  for (int kind = 0; kind < static_cast<int>(gemm_sm80_tiles().size()); ++kind) {
    for (const Major a : kMajors) {
      for (const Major b : kMajors) {
        Problem p{72, 80, 136};
        p.a = a;
        p.b = b;
        emulation::reset_statistics();
        expect_correct(p, tensor_cores(kind));
        CHECK(emulation::statistics().launches == 1);
        CHECK(emulation::statistics().bank_conflicts == 0);
      }
    }
  }
}

#endif

TEST_CASE("choose_tiling: small tiles for small C, slabs for long sums, large tiles for large C") {
  const auto choose = [](int64_t m, int64_t n, int64_t k, bool through_memory) {
    const TileKind kinds[] = {{128, 256, 32, 0.92f}, {128, 128, 32, 0.88f}, {64, 64, 64, 0.55f}};
    return choose_tiling(kinds, {m, n, k, 1, through_memory}, 108);
  };
  CHECK_EQ(choose(8192, 8192, 8192, false).kind, 0);
  CHECK_EQ(choose(8192, 8192, 8192, false).slabs, 1);
  CHECK_EQ(choose(64, 512, 512, false).kind, 2);
  CHECK_GT(choose(768, 768, 50432, true).slabs, 2);
}
