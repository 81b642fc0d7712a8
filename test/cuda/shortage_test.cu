// The CUDA device as a queue, where memory runs out, or time, or numbers: what is told to whom, and what is
// kept.
#include <chrono>
#include <future>
#include <thread>

#include "cuda_handles.h"
#include "device_work.cuh"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

#undef CHECK  // the test's own from here on
#include <doctest/doctest.h>

using namespace native;
using namespace native::cuda;

TEST_CASE("operations are found by the low half of their numbers, also where these outgrow it") {
  for (const int64_t bound : {int64_t{1} << 31, int64_t{1} << 32}) {
    SiteTable sites(bound - 2);
    for (const char* name : {"a", "b", "c", "d"}) sites.add({name, {}});
    CHECK_EQ(sites.next(), bound + 2);
    const auto found = [&] {
      std::string names;
      for (int64_t number = bound - 3; number < bound + 3; ++number) {
        const std::string name = sites.find(static_cast<uint32_t>(number)).name;
        names += name == "an operation" ? "-" : name;
      }
      return names;
    };
    CHECK_EQ(found(), "-abcd-");
    sites.retain(bound - 1, bound + 1);
    sites.forget_before(bound + 1);
    CHECK_EQ(found(), "--bcd-");
    sites.drop(bound - 1, bound + 1);
    CHECK_EQ(found(), "----d-");
  }
}

TEST_CASE("what went wrong before drain is told by the fence after it") {
  const Tensor x = uploaded(ramp(8, 0));
  increment(x, 1);
  find_fault(50);
  device().drain();
  const auto error = fence();
  REQUIRE(error);
  CHECK_EQ(error->code(), "ERR_INDEX_RANGE");
  CHECK_EQ(read(x), ramp(8, 1));
}
