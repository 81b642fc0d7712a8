// The warpgroup product against float64: every tile with every pair of majors, alone and in clusters, sizes
// around tiles and around the ring of stages, all epilogues, slabs in order, batches, work in fixed shares
// and by tickets, equal bits in any order of events; and that each of its barriers, fences and waits is
// needed.
#include "gemm/gemm_sm90.h"

#include <algorithm>
#include <fstream>

#include "gemm_problem.h"
#include "runtime/context.h"
#if defined(CUDA_EMULATION)
#include "emulation.h"
#endif

using namespace native::cuda;
using gemm_test::expect_correct;
using gemm_test::Problem;
using native::DType;

namespace {

auto run(Sm90TileKind tile, int cluster = 1, int slabs = 1, bool apart = false) {
  return
      [choice = Sm90Choice{tile, cluster, slabs, apart}](const GemmArgs& args) { gemm_sm90(args, choice); };
}

// Gaps that make all rows start on 16 bytes.
Problem aligned(Problem p) {
  const auto gap = [](int64_t columns, int64_t unit) { return (unit - columns % unit) % unit; };
  p.gap_a = gap(p.a == Major::k ? p.k : p.m, 8);
  p.gap_b = gap(p.b == Major::k ? p.k : p.n, 8);
  p.gap_c = gap(p.n, p.c_dtype == DType::float32 ? 4 : 8);
  return p;
}

Problem product(int64_t m, int64_t n, int64_t k, Major b = Major::k, DType dtype = DType::bfloat16) {
  Problem p{m, n, k, dtype};
  p.b = b;
  return aligned(p);
}

Problem weight(int64_t m, int64_t n, int64_t k, DType dtype = DType::bfloat16) {
  Problem p{m, n, k, dtype};
  p.a = p.b = Major::mn;
  p.c_dtype = DType::float32;
  p.row_sum = true;
  return aligned(p);
}

constexpr Sm90TileKind kTiles[] = {Sm90TileKind::ping_pong_128x192, Sm90TileKind::cooperative_128x256,
                                   Sm90TileKind::cooperative_256x192, Sm90TileKind::cooperative_128x128};

// More tiles than the emulated device has multiprocessors, with tails in all directions.
constexpr Sm90TileShape beyond(Sm90TileKind tile) {
  const Sm90TileShape shape = kSm90TileShapes[static_cast<int>(tile)];
  return {3 * shape.m + 5, shape.n + 9};
}

// The same on a device that others use too: work is handed out by tickets.
gemm_test::Run shared(const gemm_test::Run& run_it) {
  return [run_it](const GemmArgs& args) {
    Context& context = current_context();
    const bool before = context.shares_device();
    context.share_device();
    run_it(args);
    context.share_device(before);
  };
}

}  // namespace

TEST_CASE("gemm_sm90: every tile and pair of majors, alone and in clusters") {
  int index = 0;
  for (const Sm90TileKind tile : kTiles) {
    const Sm90TileShape shape = kSm90TileShapes[static_cast<int>(tile)], large = beyond(tile);
    for (const Major b : {Major::k, Major::mn}) {
      const DType dtype = ++index % 2 ? DType::bfloat16 : DType::float16;
      expect_correct(product(shape.m - 1, shape.n + 1, 72, b, dtype), run(tile, 1));
      expect_correct(product(large.m, large.n, 136, b), run(tile, 2));
    }
    expect_correct(product(shape.m, shape.n, 64), run(tile));
    expect_correct(weight(shape.m + 1, shape.n - 1, 200), run(tile));
  }
  for (const Major b : {Major::k, Major::mn}) {
    for (const int cluster : {1, 2}) {
      Problem p{200, 136, 72, cluster == 1 ? DType::float16 : DType::bfloat16};
      p.a = Major::mn;
      p.b = b;
      expect_correct(aligned(p), run(Sm90TileKind::cooperative_128x128, cluster));
    }
  }
}

// What the templates of gemm_sm90_*.cu are instantiated for, one small product each.
TEST_CASE("gemm_sm90: every kernel that is compiled") {
  const auto either = [](const Problem& p, Sm90TileKind tile) {
    expect_correct(p, run(tile));
    expect_correct(p, shared(run(tile)));
  };
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const Sm90TileKind tile : kTiles) {
      for (const Major b : {Major::k, Major::mn}) either(product(72, 40, 72, b, dtype), tile);
      either(weight(72, 40, 72, dtype), tile);
    }
    for (const Major b : {Major::k, Major::mn}) {
      Problem p{72, 40, 72, dtype};
      p.a = Major::mn;
      p.b = b;
      either(aligned(p), Sm90TileKind::cooperative_128x128);
    }
  }
}

TEST_CASE("gemm_sm90: sums shorter and longer than the ring of stages, over many tiles") {
  for (const int64_t k : {8, 3 * 64, 4 * 64, 5 * 64, 9 * 64 + 16}) {
    expect_correct(product(5 * 128 + 8, 200, k), run(Sm90TileKind::ping_pong_128x192, 1));
    expect_correct(product(5 * 128 + 8, 72, k), run(Sm90TileKind::cooperative_128x256, 2));
  }
}

TEST_CASE("gemm_sm90: every epilogue") {
  for (const Sm90TileKind tile : {Sm90TileKind::ping_pong_128x192, Sm90TileKind::cooperative_128x256}) {
    for (int epilogue = 0; epilogue < 6; ++epilogue) {
      for (const DType dtype : {DType::bfloat16, DType::float16}) {
        Problem p = product(330, 264, 80, Major::k, dtype);
        p.bias = epilogue != 3 && epilogue != 5;
        p.quick_gelu = epilogue == 1 || epilogue == 4;
        p.slope = epilogue == 1;
        p.residual = epilogue == 2 || epilogue == 4;
        p.multiplier = epilogue == 3;
        if (epilogue == 5) p.alpha = -0.125f;
        expect_correct(p, run(tile, epilogue % 2 + 1));
      }
    }
  }
}

TEST_CASE("gemm_sm90: bands of columns where B does not fit the cache") {
  for (const int cluster : {1, 2}) {
    expect_correct(product(3 * 128 + 8, 17 * 128 + 8, 64), run(Sm90TileKind::cooperative_128x128, cluster));
    Problem p = product(2 * 128 + 8, 8 * 192 + 8, 72, Major::mn);
    p.batch = 2;
    expect_correct(p, run(Sm90TileKind::ping_pong_128x192, cluster));
  }
}

TEST_CASE("gemm_sm90: slabs are added in order, row sums too") {
  for (const Sm90TileKind tile : kTiles) {
    for (const bool accumulate : {false, true}) {
      Problem p = weight(200, 264, 7 * 64 + 8);
      p.accumulate = accumulate;
      p.accumulate_row_sum = !accumulate;
      expect_correct(p, run(tile, 1, 3));
      expect_correct(p, run(tile, accumulate ? 2 : 1, 3, true));
    }
  }
  Problem p = weight(264, 136, 16 * 64);
  p.accumulate = p.accumulate_row_sum = true;
  expect_correct(p, run(Sm90TileKind::cooperative_128x128, 2, 16));
  p.row_sum = false;
  expect_correct(p, run(Sm90TileKind::ping_pong_128x192, 2, 5));
  p.alpha = -0.5f;
  expect_correct(p, run(Sm90TileKind::cooperative_256x192, 2, 5, true));
  expect_correct(weight(136, 68, 5 * 64), run(Sm90TileKind::cooperative_128x128, 1, 3, true));
}

TEST_CASE("gemm_sm90: batches, shared operands, sums over the batch") {
  for (const int cluster : {1, 2}) {
    Problem p = product(136, 72, 72);
    p.batch = 3;
    const auto run_it = run(Sm90TileKind::ping_pong_128x192, cluster);
    expect_correct(p, run_it);
    p.share_a = true;
    expect_correct(p, run_it);
    p.share_a = false;
    p.share_b = true;
    expect_correct(p, run_it);
    p.share_b = false;
    p.sum_batch = true;
    expect_correct(p, run(Sm90TileKind::cooperative_128x256, cluster));
  }
  Problem summed = weight(136, 72, 72);
  summed.row_sum = false;
  summed.batch = 3;
  summed.sum_batch = true;
  expect_correct(summed, run(Sm90TileKind::cooperative_128x128, 1, 4));
  summed.sum_batch = false;
  expect_correct(summed, run(Sm90TileKind::cooperative_128x128, 2, 2, true));
}

TEST_CASE("gemm_sm90: views, and what it refuses") {
  Problem p = product(130, 64, 72);
  p.gap_a = 24;
  p.gap_b = 8;
  p.gap_c = 16;
  p.offset = 8;
  expect_correct(p, run(Sm90TileKind::ping_pong_128x192));

  const auto args = [] {
    GemmArgs a{};
    a.m = a.n = a.k = 64;
    a.batch = 1;
    a.dtype = a.c_dtype = DType::bfloat16;
    a.a = a.b = {nullptr, Major::k, 64};
    a.c_pitch = 64;
    return a;
  };
  CHECK(gemm_sm90_supports(args()));
  const auto refuses = [&](auto&& change) {
    GemmArgs changed = args();
    change(changed);
    CHECK(!gemm_sm90_supports(changed));
  };
  refuses([](GemmArgs& a) { a.dtype = a.c_dtype = DType::float32; });
  refuses([](GemmArgs& a) { a.a.pitch = 65; });
  refuses([](GemmArgs& a) { a.b.data = reinterpret_cast<const void*>(8); });
  refuses([](GemmArgs& a) { a.c = reinterpret_cast<void*>(2); });
  refuses([](GemmArgs& a) { a.c_pitch = 68; });
  refuses([](GemmArgs& a) { a.k = 0; });
  refuses([](GemmArgs& a) { a.batch = 2, a.a.batch_stride = 60; });
  refuses([](GemmArgs& a) { a.c_dtype = DType::float32; });  // both operands by k
  refuses([](GemmArgs& a) { a.epilogue.row_sum = reinterpret_cast<float*>(16); });
  refuses(
      [](GemmArgs& a) { a.epilogue.multiplier = a.epilogue.residual = reinterpret_cast<const void*>(16); });
  CHECK(!gemm_sm90_supports(args(), {Sm90TileKind::cooperative_128x128, 1, 2}));  // slabs of 16-bit results
  CHECK(!gemm_sm90_supports(args(), {Sm90TileKind::cooperative_128x128, 3, 1}));
  CHECK(!gemm_sm90_supports(args(), {Sm90TileKind::cooperative_128x128, 1, 1, true}));
}

TEST_CASE("choose_sm90: slabs where the result is small, none where it is large") {
  GemmArgs args{};
  args.m = args.n = 256, args.k = 50432, args.batch = 1;
  args.dtype = DType::bfloat16;
  args.c_dtype = DType::float32;
  args.a = args.b = {nullptr, Major::mn, 256};
  args.c_pitch = 256;
  const Sm90Choice dw = choose_sm90(args);
  CHECK(dw.slabs > 1);
  CHECK(gemm_sm90_supports(args, dw));
  // On a large device all slabs of so few tiles end together. Those of many do not, and pass through memory
  // costs more there.
  CHECK(search_sm90(args, 132).apart);
  args.m = 3072, args.n = 768;
  args.a.pitch = 3072, args.b.pitch = args.c_pitch = 768;
  const Sm90Choice large = search_sm90(args, 132);
  CHECK(large.slabs > 1);
  CHECK(!large.apart);
  args.m = args.n = 8192, args.k = 8192;
  args.a.pitch = args.b.pitch = args.c_pitch = 8192;
  CHECK(choose_sm90(args).slabs == 1);
  args.c_dtype = DType::bfloat16;
  args.a.major = args.b.major = Major::k;
  CHECK(choose_sm90(args).tile != Sm90TileKind::cooperative_128x128);
}

TEST_CASE("gemm_sm90: work by tickets makes the same bits") {
  const auto same = [](const Problem& p, const gemm_test::Run& run_it) {
    CHECK(gemm_test::result_of(p, shared(run_it)) == gemm_test::result_of(p, run_it));
    int tickets = -1;
    cudaMemcpy(&tickets, current_context().tickets(), sizeof tickets, cudaMemcpyDeviceToHost);
    CHECK(tickets == 0);
  };
  for (const Sm90TileKind tile : kTiles) {
    const Sm90TileShape large = beyond(tile);
    for (const int cluster : {1, 2}) {
      same(product(2 * large.m, large.n, 136), run(tile, cluster));
      same(weight(200, 264, 7 * 64 + 8), run(tile, cluster, 7));
    }
  }
  // Tickets, and stages within a tile, go round.
  Problem p = product(20 * 128 + 8, 72, 72, Major::mn);
  p.bias = p.residual = true;
  same(p, run(Sm90TileKind::ping_pong_128x192, 2));
  same(p, run(Sm90TileKind::cooperative_128x256, 1));
  for (const Sm90TileKind tile : kTiles) same(product(6 * 256 + 8, 200, 9 * 64), run(tile, 1));
  same(product(8, 8, 8), run(Sm90TileKind::ping_pong_128x192, 2));
}

#if defined(CUDA_EMULATION)
TEST_CASE("gemm_sm90: clusters that begin when others end take nothing that these wait for") {
  const Problem p = weight(200, 264, 9 * 64);
  for (const Sm90TileKind tile : kTiles) {
    for (const int cluster : {1, 2}) {
      const auto slabs = run(tile, cluster, 9);
      const check::Values expected = gemm_test::result_of(p, slabs);
      emulation::leave_multiprocessors(cluster);
      CHECK(gemm_test::result_of(p, shared(slabs)) == expected);
      emulation::leave_multiprocessors(0);
    }
  }
}

TEST_CASE("gemm_sm90: the same bits in any order of events, and no bank conflicts") {
  const Problem p = weight(200, 136, 7 * 64);
  const auto split = run(Sm90TileKind::cooperative_128x128, 2, 4);
  emulation::reset_statistics();
  const check::Values first = gemm_test::result_of(p, split);
  for (uint64_t seed = 2; seed < 12; ++seed) {
    emulation::set_seed(seed);
    CHECK(gemm_test::result_of(p, split) == first);
  }
  expect_correct(product(136, 200, 72), run(Sm90TileKind::ping_pong_128x192));
  const auto apart = run(Sm90TileKind::cooperative_128x256, 1, 4, true);
  const check::Values added_later = gemm_test::result_of(p, apart);
  emulation::set_seed(2);
  CHECK(gemm_test::result_of(p, apart) == added_later);
  CHECK(emulation::statistics().bank_conflicts == 0);
  emulation::set_seed(1);
}

// The line of a source file.
std::string line_of(const std::string& file, int line) {
  std::ifstream source(file);
  std::string text;
  for (int i = 0; i < line; ++i) std::getline(source, text);
  return text;
}

TEST_CASE("gemm_sm90: every barrier, fence and wait is needed") {
  struct Case {
    Problem problem;
    gemm_test::Run run;
    check::Values expected;
  };
  std::vector<Case> cases;
  const auto add = [&](const Problem& p, const gemm_test::Run& run_it) {
    cases.push_back({p, run_it, gemm_test::result_of(p, run_it)});
  };
  // One tile and a block without any, in a cluster.
  add(product(128, 64, 64), run(Sm90TileKind::cooperative_128x128, 2));
  // Two tiles and more per block; the rings wrap; inputs, and two outputs, pass through the slots.
  Problem p = product(3 * 128, 200, 6 * 64);
  p.bias = p.residual = true;
  add(p, run(Sm90TileKind::ping_pong_128x192, 2));
  p = product(6 * 128, 72, 7 * 64);
  p.bias = p.quick_gelu = p.slope = true;
  add(p, run(Sm90TileKind::cooperative_128x128, 1));
  // Slabs that wait for each other, in one block too.
  add(weight(128, 72, 9 * 64), run(Sm90TileKind::cooperative_128x128, 1, 9));
  add(weight(128, 72, 9 * 64), run(Sm90TileKind::ping_pong_128x192, 2, 9));
  // Work by tickets, more of it than the ring holds.
  add(product(128 * 28, 72, 64), shared(run(Sm90TileKind::ping_pong_128x192, 2)));
  add(weight(128, 72, 12 * 64), shared(run(Sm90TileKind::cooperative_128x128, 1, 12)));
  // A grid that reads what the grid before it writes.
  p = product(128, 72, 64);
  p.residual = true;
  add(p, [](const GemmArgs& args) {
    gemm_sm90(args, {Sm90TileKind::cooperative_128x128});
    GemmArgs again = args;
    again.epilogue.residual = args.c;
    gemm_sm90(again, {Sm90TileKind::cooperative_128x128});
  });

  const auto missed = [&](uint64_t seeds) {
    for (uint64_t seed = 1; seed <= seeds; ++seed) {
      for (const Case& c : cases) {
        if (seed > 4 && c.problem.m * c.problem.n > 128 * 128) continue;  // the larger ones find theirs soon
        emulation::set_seed(seed);
        bool wrong = false;
        const std::string error =
            check::error_of([&] { wrong = gemm_test::result_of(c.problem, c.run) != c.expected; });
        if (wrong || !error.empty()) return false;
      }
    }
    return true;
  };
  // What something else implies on the emulated machine, though nothing promises it.
  const char* const kImplied[] = {
      // The warps of a group only come through wgmma_wait when all have left the tile before.
      "named_barrier(kTileBarrier + group, 128)",
      // The waits for registers that follow let nobody pass before thread 0 has initialised the barriers.
      "block_barrier()",
      // bulk_wait behind it takes longer than the other lanes.
      "warp_barrier();  // the sums are written",
  };
  emulation::forget_sites();
  CHECK(missed(3));
  for (const emulation::SiteRecord& site : emulation::sites()) {
    if (site.file.find("gemm_sm90") == std::string::npos) continue;
    const std::string text = line_of(site.file, site.line);
    const auto here = [&](const char* implied) { return text.find(implied) != std::string::npos; };
    if (std::any_of(std::begin(kImplied), std::end(kImplied), here)) continue;
    emulation::skip(site.file, site.line);
    CHECK_MESSAGE(!missed(40), native::concat(site.what, " at ", site.file, ":", site.line));
    emulation::skip_nothing();
  }
  emulation::set_seed(1);
}
#endif
