// Device memory: what is handed out, joined, given back, and counted.
#include "runtime/device_memory.h"

#include <cstdlib>
#include <map>
#include <random>

#include "core/device.h"
#include "runtime/context.h"

#undef CHECK  // the test's own from here on
#include <doctest/doctest.h>

using namespace native;
using native::cuda::DeviceMemory;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

struct Fixture {
  Fixture() { cuda::current_context(); }  // opens the device
  int waits = 0;
  DeviceMemory memory{[this] { waits += 1; }};
};

char* bytes(void* data) { return static_cast<char*>(data); }

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a released block is handed out again, best fit first") {
  void* a = memory.allocate(3 * kMiB);
  void* b = memory.allocate(5 * kMiB);
  void* c = memory.allocate(2 * kMiB);
  memory.release(a);
  CHECK_EQ(memory.allocate(3 * kMiB), a);
  memory.release(a);
  memory.release(c);  // joins the rest of the segment, which is larger than a
  CHECK_EQ(memory.allocate(2 * kMiB + 1), a);
  memory.release(b);
  memory.release(a);
  CHECK_EQ(memory.stats().live_bytes, 0);
  CHECK_EQ(memory.stats().reserved_bytes, 20 * kMiB);
}

TEST_CASE_FIXTURE(Fixture, "free neighbours become one block") {
  void* parts[4];
  for (void*& part : parts) part = memory.allocate(5 * kMiB);
  CHECK_EQ(bytes(parts[3]) - bytes(parts[0]), static_cast<ptrdiff_t>(15 * kMiB));
  for (const int i : {1, 3, 2, 0}) memory.release(parts[i]);
  void* small = memory.allocate(9 * kMiB);
  CHECK_EQ(small, parts[0]);
  memory.release(small);
  CHECK_EQ(memory.stats().reserved_bytes, 20 * kMiB);
}

TEST_CASE_FIXTURE(Fixture, "small blocks share a segment, large ones have their own") {
  void* small[3];
  for (void*& block : small) block = memory.allocate(700);
  CHECK_EQ(memory.stats().reserved_bytes, 2 * kMiB);
  CHECK_EQ(memory.stats().live_bytes, 3 * 1024);
  CHECK_EQ(bytes(small[1]) - bytes(small[0]), 1024);
  void* large = memory.allocate(11 * kMiB);
  CHECK_EQ(memory.stats().reserved_bytes, 14 * kMiB);
  for (void* block : small) memory.release(block);
  memory.release(large);
  CHECK_EQ(memory.stats().live_tensors, 0);
  CHECK_EQ(memory.stats().peak_bytes, 12 * kMiB + 3 * 1024);  // a rest of 1 MiB is not cut off
  memory.reset_peak();
  CHECK_EQ(memory.stats().peak_bytes, 0);
  memory.empty_cache();
  CHECK_EQ(memory.stats().reserved_bytes, 0);
  CHECK_EQ(waits, 1);
}

TEST_CASE_FIXTURE(Fixture, "blocks never overlap, whatever comes and goes") {
  std::mt19937 random(7);
  std::map<char*, size_t> live;
  for (int i = 0; i < 4000; ++i) {
    if (live.empty() || random() % 5 < 3) {
      const size_t size = random() % 8 ? random() % 5000 : random() % (4 * kMiB);
      char* block = bytes(memory.allocate(size));
      CHECK_EQ(reinterpret_cast<uintptr_t>(block) % 512, 0);
      const auto after = live.lower_bound(block);
      if (after != live.end()) CHECK_LE(block + size, after->first);
      if (after != live.begin()) CHECK_LE(std::prev(after)->first + std::prev(after)->second, block);
      live[block] = size;
    } else {
      auto victim = std::next(live.begin(), static_cast<ptrdiff_t>(random() % live.size()));
      memory.release(victim->first);
      live.erase(victim);
    }
  }
  CHECK_EQ(memory.stats().live_tensors, live.size());
  for (const auto& [block, size] : live) memory.release(block);
  CHECK_EQ(memory.stats().live_bytes, 0);
  memory.empty_cache();
  CHECK_EQ(memory.stats().reserved_bytes, 0);
}

TEST_CASE_FIXTURE(Fixture, "sizes that no longer occur do not pile up") {
  for (size_t i = 1; i <= 8; ++i) memory.release(memory.allocate(20 * i * kMiB));
  // One and a half times the largest that was live, and 256 MiB.
  CHECK_LE(memory.stats().reserved_bytes, (160 + 80 + 256) * kMiB);
  memory.empty_cache();
}

TEST_CASE_FIXTURE(Fixture, "a full device gives the cache back, then says what is in use") {
  memory.release(memory.allocate(64 * kMiB));
  std::string message;
  try {
    memory.allocate(size_t{1} << 50);
  } catch (const Error& error) {
    CHECK_EQ(error.code(), "ERR_OUT_OF_MEMORY");
    message = error.what();
  }
  CHECK_NE(message.find("cannot allocate 1073741824 MiB"), std::string::npos);
  CHECK_NE(message.find("smaller batch"), std::string::npos);
  CHECK_EQ(memory.stats().reserved_bytes, 0);
  memory.release(memory.allocate(kMiB));  // it goes on
  memory.empty_cache();
}

TEST_CASE_FIXTURE(Fixture, "a pool keeps its blocks to itself until it is dissolved") {
  void* before = memory.allocate(30 * kMiB);
  memory.release(before);
  const int pool = memory.new_pool();
  memory.begin_pool(pool);
  void* own = memory.allocate(30 * kMiB);
  CHECK_NE(own, before);
  memory.release(own);
  CHECK_EQ(memory.allocate(30 * kMiB), own);  // within the pool it is used again
  memory.release(own);
  memory.end_pool();
  CHECK_EQ(memory.allocate(30 * kMiB), before);
  void* other = memory.allocate(30 * kMiB);
  CHECK_NE(other, own);
  memory.begin_pool(pool);  // a second time
  CHECK_EQ(memory.allocate(30 * kMiB), own);
  memory.release(own);
  memory.end_pool();
  memory.release(other);
  memory.release(before);
  memory.empty_cache();
  CHECK_EQ(memory.stats().reserved_bytes, 30 * kMiB);
  memory.dissolve_pool(pool);
  memory.empty_cache();
  CHECK_EQ(memory.stats().reserved_bytes, 0);
}

TEST_CASE("exact memory is taken for each block and goes back with it, once no recording may use it") {
  cuda::current_context();
  int waits = 0;
  DeviceMemory memory([&] { waits += 1; }, true);
  void* a = memory.allocate(700);
  void* b = memory.allocate(3 * kMiB + 1);
  CHECK_EQ(memory.stats().reserved_bytes, 700 + 3 * kMiB + 1);
  CHECK_EQ(memory.stats().live_bytes, 700 + 3 * kMiB + 1);
  memory.release(b);
  CHECK_EQ(memory.stats().reserved_bytes, 700);
  CHECK_EQ(waits, 1);
  const int pool = memory.new_pool();
  memory.begin_pool(pool);
  memory.release(a);
  void* c = memory.allocate(900);
  memory.release(c);
  void* d = memory.allocate(800);  // not within c, which is larger
  CHECK_NE(d, c);
  CHECK_EQ(memory.allocate(900), c);
  memory.release(c);
  memory.end_pool();
  CHECK_EQ(memory.stats().reserved_bytes, 700 + 900 + 800);
  CHECK_EQ(waits, 1);
  memory.release(d);
  memory.dissolve_pool(pool);
  memory.empty_cache();
  CHECK_EQ(memory.stats().reserved_bytes, 0);
  CHECK_EQ(memory.stats().live_bytes, 0);
}

TEST_CASE_FIXTURE(Fixture, "releasing what is not in use is an error") {
  int nothing = 0;
  CHECK_THROWS_AS(memory.release(&nothing), Error);
}
