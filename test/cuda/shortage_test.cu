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

#ifdef CUDA_EMULATION
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kTooMuch = size_t{1} << 40;  // of the host

// While it lives, this many bytes more than are in use can be taken.
struct DeviceLimit {
  explicit DeviceLimit(size_t bytes) { emulation::set_memory_limit(emulation::memory_in_use() + bytes); }
  ~DeviceLimit() { emulation::set_memory_limit(4096 * kMiB); }
};
struct PinnedLimit {
  explicit PinnedLimit(size_t bytes) { emulation::set_pinned_limit(emulation::pinned_in_use() + bytes); }
  ~PinnedLimit() { emulation::set_pinned_limit(SIZE_MAX); }
};

template <class Work>
std::string code_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

// Work on the stream stands still until it is let go.
class Hold {
 public:
  explicit Hold(cudaStream_t stream) {
    const auto wait = [](void* until) { static_cast<std::future<void>*>(until)->wait(); };
    check_cuda(cudaLaunchHostFunc(stream, wait, &released_), "holding the stream");
  }
  void let_go() { release_.set_value(); }

 private:
  std::promise<void> release_;
  std::future<void> released_ = release_.get_future();
};

// Asks for x on a thread of its own, and waits for it on that thread when it is told to.
class Reader {
 public:
  explicit Reader(const Tensor& x, size_t bytes) : values_(static_cast<size_t>(x.numel()), -1) {
    thread_ = std::thread([this, x, bytes] {
      device().copy_to_host(values_.data(), x.raw(), bytes);
      asked_.set_value();
      go_on_.get_future().wait();
      error_ = fence();
    });
    asked_.get_future().wait();
  }
  // The error's code, or empty.
  std::string finish() {
    go_on_.set_value();
    thread_.join();
    return error_ ? error_->code() : "";
  }
  const std::vector<float>& values() const { return values_; }

 private:
  std::vector<float> values_;
  std::promise<void> asked_, go_on_;
  std::optional<Error> error_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("blocks that uploads left idle make room before memory is refused") {
  for (const bool host_writes : {false, true}) {
    device().empty_cache();
    device().release(device().allocate(40 * kMiB, true), 40 * kMiB);
    REQUIRE(!fence());
    const DeviceLimit limit(kMiB);
    void* data = nullptr;
    CHECK_EQ(code_of([&] { data = device().allocate(15 * kMiB, host_writes); }), "");
    if (data) device().release(data, 15 * kMiB);
  }
}

TEST_CASE("no more than so many bytes of uploads lie idle, and those left longest ago go first") {
  const check::Stream stream;
  PinnedMemory pinned;
  EventPool events(false);
  DeviceMemory memory([] {});
  Uploads uploads(stream, memory, pinned, events, 3 * kMiB);
  std::vector<void*> blocks;
  for (int i = 0; i < 5; ++i) blocks.push_back(uploads.allocate(kMiB));
  for (void* block : blocks) CHECK(uploads.release(block));
  CHECK_EQ(uploads.idle_blocks(), 3);
  CHECK_EQ(uploads.idle_bytes(), 3 * kMiB);
  CHECK_EQ(uploads.allocate(kMiB), blocks[2]);
  CHECK(uploads.release(blocks[2]));
  void* large = uploads.allocate(4 * kMiB);
  CHECK(uploads.release(large));
  CHECK_EQ(uploads.idle_blocks(), 0);
  CHECK_EQ(memory.stats().live_tensors, 0);
}

TEST_CASE("what is queued behind an upload that failed half-way waits for its first half") {
  constexpr size_t kPiece = 16 * kMiB, kCount = kPiece / sizeof(float);
  const std::vector<float> values = ramp(2 * kCount, 1);
  const check::Stream stream;
  PinnedMemory pinned;
  EventPool events(false);
  DeviceMemory memory([] {});
  Uploads uploads(stream, memory, pinned, events);
  Hold hold(stream);
  auto* block = static_cast<char*>(uploads.allocate(2 * kPiece));
  {
    const PinnedLimit limit(kPiece);
    CHECK_EQ(code_of([&] { uploads.copy(block, values.data(), 2 * kPiece); }), "ERR_OUT_OF_MEMORY");
  }
  float last = 0;
  const char* const from = block + kPiece - sizeof last;
  check_cuda(cudaMemcpyAsync(&last, from, sizeof last, cudaMemcpyDeviceToHost, stream), "looking");
  hold.let_go();
  check_cuda(cudaStreamSynchronize(stream), "looking");
  CHECK_EQ(last, values[kCount - 1]);
  CHECK(uploads.release(block));
  uploads.empty_cache();
}

TEST_CASE("a read that cannot be queued fails at the next fence of its own thread") {
  const Tensor x = uploaded(ramp(8, 0));
  REQUIRE(!fence());
  std::unique_ptr<Reader> reader;
  {
    const PinnedLimit limit(0);
    reader = std::make_unique<Reader>(x, kTooMuch);
  }
  CHECK_FALSE(fence());
  CHECK_EQ(reader->finish(), "ERR_OUT_OF_MEMORY");
}

TEST_CASE("a fence that cannot be queued leaves alone what other threads have asked for") {
  const Tensor x = uploaded(ramp(8, 0));
  REQUIRE(!fence());
  Reader reader(x, x.nbytes());
  std::vector<float> own(8, -1);
  device().copy_to_host(own.data(), x.raw(), x.nbytes());
  {
    const PinnedLimit limit(0);
    device().copy_to_host(nullptr, x.raw(), kTooMuch);  // after which nothing lies idle either
    const auto error = fence();
    REQUIRE(error);
    CHECK_EQ(error->code(), "ERR_OUT_OF_MEMORY");
  }
  CHECK_FALSE(fence());
  CHECK_EQ(own, std::vector<float>(8, -1));  // may have gone since its fence
  CHECK_EQ(reader.finish(), "");
  CHECK_EQ(reader.values(), ramp(8, 0));
}

TEST_CASE("drain gives up on a device that hangs, and what its thread has asked for is forgotten") {
  const Tensor x = uploaded(ramp(8, 0));
  REQUIRE(!fence());
  Hold hold(current_context().stream());
  std::future<std::vector<float>> other = std::async(std::launch::async, [&] { return read(x); });
  std::vector<float> own(8, -1);
  bool told = false;
  device().copy_to_host(own.data(), x.raw(), x.nbytes());
  device().fence([&](std::optional<Error>) { told = true; });
  const auto before = std::chrono::steady_clock::now();
  std::thread release([&] {  // so that a drain that waits comes to an end
    std::this_thread::sleep_for(std::chrono::seconds(12));
    hold.let_go();
  });
  device().drain();
  CHECK_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  release.join();
  REQUIRE(!fence());
  CHECK_FALSE(told);
  CHECK_EQ(own, std::vector<float>(8, -1));
  CHECK_EQ(other.get(), ramp(8, 0));
}
#endif
