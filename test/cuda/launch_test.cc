// What a launch costs on the host: choices of tiles and answers of the driver are remembered by shape.
#include <thread>

#include "common/memo.h"
#include "gemm/gemm_sm80.h"
#include "gemm/gemm_sm90.h"
#include "gemm_problem.h"
#include "runtime/context.h"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

using namespace native::cuda;
using native::DType;

TEST_CASE("memo: computes once per key, and never holds more than its capacity") {
  Memo<int, 2, 8> memo;
  int computed = 0;
  const auto sum = [&](int64_t a, int64_t b) {
    return memo.get({a, b}, [&] {
      ++computed;
      return static_cast<int>(a + b);
    });
  };
  CHECK(sum(1, 2) == 3);
  CHECK(sum(1, 2) == 3);
  CHECK(sum(2, 1) == 3);
  CHECK(computed == 2);
  for (int i = 0; i < 100; ++i) {
    CHECK(sum(i, 0) == i);
    CHECK(memo.size() <= 8);
  }
  CHECK(memo.computed() == computed);
}

TEST_CASE("memo: threads may ask side by side") {
  Memo<int64_t, 1, 16> memo;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&memo, t] {
      for (int64_t i = 0; i < 2000; ++i) {
        const int64_t key = (i * (t + 1)) % 40;
        if (memo.get({key}, [key] { return 3 * key; }) != 3 * key) std::abort();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(memo.size() <= 16);
}

TEST_CASE("choices are remembered by what they depend on") {
  const auto args = [](int64_t m, DType c_dtype) {
    GemmArgs a{};
    a.m = m, a.n = 192, a.k = 50432, a.batch = 1;
    a.dtype = DType::bfloat16, a.c_dtype = c_dtype;
    const Major major = c_dtype == DType::float32 ? Major::mn : Major::k;
    a.a = {nullptr, major, major == Major::k ? a.k : m};
    a.b = {nullptr, major, major == Major::k ? a.k : a.n};
    a.c_pitch = a.n;
    return a;
  };
  const Sm90Choices& choices = current_context().remembered<Sm90Choices>();
  const int64_t before = choices.computed();
  const Sm90Choice forward = choose_sm90(args(256, DType::bfloat16));
  const Sm90Choice weight = choose_sm90(args(256, DType::float32));
  CHECK(weight.slabs > forward.slabs);
  choose_sm90(args(264, DType::bfloat16));
  CHECK(choices.computed() == before + 3);
  for (int i = 0; i < 10; ++i) {
    CHECK(choose_sm90(args(256, DType::bfloat16)).tile == forward.tile);
    CHECK(choose_sm90(args(256, DType::float32)).slabs == weight.slabs);
  }
  CHECK(choices.computed() == before + 3);
}

#ifdef CUDA_EMULATION
TEST_CASE("the second launch of a product asks the driver nothing and searches nothing") {
  for (const int cluster : {1, 2}) {
    for (const Sm90TileKind tile : {Sm90TileKind::ping_pong_128x192, Sm90TileKind::cooperative_128x128}) {
      const gemm_test::Run run = [&](const GemmArgs& args) { gemm_sm90(args, {tile, cluster, 1}); };
      const gemm_test::Problem problem{300, 200, 72};
      gemm_test::expect_correct(problem, run);
      emulation::reset_statistics();
      gemm_test::expect_correct(problem, run);
      CHECK(emulation::statistics().launches > 0);
      CHECK(emulation::statistics().queries == 0);
    }
  }
  const auto searches = [] {
    return current_context().remembered<Sm90Choices>().computed() +
           current_context().remembered<Tilings>().computed();
  };
  const gemm_test::Problem problem{64, 64, 128};
  const gemm_test::Run run = [](const GemmArgs& args) { gemm(args); };
  gemm_test::expect_correct(problem, run);
  const int64_t before = searches();
  emulation::reset_statistics();
  gemm_test::expect_correct(problem, run);
  CHECK(searches() == before);
  CHECK(emulation::statistics().queries == 0);
}

TEST_CASE("the driver is asked once per kernel how many clusters fit") {
  const gemm_test::Run run = [](const GemmArgs& args) {
    gemm_sm90(args, {Sm90TileKind::cooperative_256x192, 2, 1});
  };
  emulation::reset_statistics();
  for (const int64_t rows : {264, 520, 776}) {
    gemm_test::Problem problem{rows, 64, 64, DType::float16};
    problem.b = Major::mn;
    gemm_test::expect_correct(problem, run);
  }
  CHECK(emulation::statistics().queries <= 2);  // its shared memory and its clusters
}
#endif
