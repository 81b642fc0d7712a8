// The CUDA device as a queue: order, errors, faults, memory, uploads, time.
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "device_work.cuh"
#include "ops/copy.h"
#include "runtime/probe.h"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

#undef CHECK  // the test's own from here on
#include <doctest/doctest.h>

using namespace native;
using namespace native::cuda;

TEST_CASE("what the host fills is copied before the call returns, and read back in order") {
  std::vector<float> values = ramp(1000, 1);
  const Tensor x = uploaded(values);
  std::fill(values.begin(), values.end(), 0.f);
  increment(x, 1);
  CHECK_EQ(read(x), ramp(1000, 2));
  increment(x, 2);
  CHECK_EQ(read(x), ramp(1000, 4));
}

TEST_CASE("copies larger than one staged piece arrive whole") {
  std::vector<float> values = ramp((size_t{40} << 20) / sizeof(float) + 3, 0);
  const Tensor x = uploaded(values);
  increment(x.rows(x.numel() - 1, 1), 1);  // waits for the last piece
  values.back() += 1;
  CHECK(read(x) == values);
}

TEST_CASE("an upload takes the block of one before it that was as large, or somewhat larger") {
  device().empty_cache();
  const auto place = [](const Tensor& x) { return x.raw(); };
  Tensor small = uploaded(ramp(5000, 0)), large = uploaded(ramp(9000, 0));
  const void *small_block = place(small), *large_block = place(large);
  small = large = Tensor();
  large = uploaded(ramp(5001, 1));
  CHECK_EQ(place(large), large_block);
  small = uploaded(ramp(4000, 2));
  CHECK_EQ(place(small), small_block);
  CHECK_EQ(read(large), ramp(5001, 1));
  CHECK_EQ(read(small), ramp(4000, 2));
  small = large = Tensor();
  CHECK_NE(place(uploaded(ramp(1000, 3))), small_block);  // that would waste most of it
}

TEST_CASE("an upload into a block that was left before runs beside what is queued") {
  device().empty_cache();
  const std::vector<float> values = ramp(3000, 7);
  uploaded(values);
  REQUIRE(!fence());
  std::promise<void> release;
  std::future<void> released = release.get_future();
  const auto hold = [](void* until) { static_cast<std::future<void>*>(until)->wait(); };
  check_cuda(cudaLaunchHostFunc(current_context().stream(), hold, &released), "holding the stream");
  const std::vector<float> next = ramp(3000, 70);
  const Tensor x = uploaded(next);
  // Looked at from a stream of its own, while that of all work stands still.
  cudaStream_t look = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&look, cudaStreamNonBlocking), "stream");
  std::vector<float> seen(next.size(), -1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (seen != next && std::chrono::steady_clock::now() < deadline) {
    check_cuda(cudaMemcpyAsync(seen.data(), x.raw(), x.nbytes(), cudaMemcpyDeviceToHost, look), "looking");
    check_cuda(cudaStreamSynchronize(look), "looking");
  }
  // Into the same block, behind what stands still: the second finds the first on its way.
  for (int i = 0; i < 2; ++i) device().copy_from_host(x.raw(), next.data(), x.nbytes());
  CHECK_EQ(cudaPeekAtLastError(), cudaSuccess);
  release.set_value();
  CHECK(seen == next);
  check_cuda(cudaStreamDestroy(look), "stream");
  REQUIRE(!fence());
}

TEST_CASE("a block that queued work still uses is not overwritten by the next upload") {
  const size_t count = 1 << 20;
  const int kRounds = 20;
  std::vector<Tensor> results;
  const void* block = nullptr;
  for (int i = 0; i < 6; ++i) {
    const Tensor x = uploaded(ramp(count, static_cast<float>(1000 * i)));
    // Released while its work is queued: the next upload gets the same block.
    if (i == 1) block = x.raw();
    if (i > 1) CHECK_EQ(x.raw(), block);
    increment(x, kRounds);
    results.push_back(cast(x, DType::float32));
    if (i == 0) REQUIRE(!fence());
  }
  for (int i = 0; i < 6; ++i) CHECK(read(results[i]) == ramp(count, static_cast<float>(1000 * i + kRounds)));
}

TEST_CASE("a failed operation is told at the next fence, with its operands, and only there") {
  device().submit({"broken", {"float32[2, 3]", "int32[4]"}},
                  [] { fail("ERR_SHAPE", "something does not fit"); });
  device().submit({"later", {}}, [] { fail("ERR_DTYPE", "not told: it comes second"); });
  const auto error = fence();
  REQUIRE(error);
  CHECK_EQ(error->code(), "ERR_SHAPE");
  CHECK_EQ(std::string(error->what()), "broken: something does not fit (operands float32[2, 3], int32[4])");
  CHECK_FALSE(fence());
}

TEST_CASE("a fault that a kernel found names its operation, at the fence after it") {
  const Tensor x = uploaded(ramp(4, 0));
  increment(x, 1);
  find_fault(77);
  increment(x, 1);
  const auto error = fence();
  REQUIRE(error);
  CHECK_EQ(error->code(), "ERR_INDEX_RANGE");
  CHECK_EQ(std::string(error->what()),
           "look_up: index 77 is outside 0 .. 9 (operands float32[10, 4], int32[3])");
  CHECK_EQ(read(x), ramp(4, 2));  // the device goes on
}

TEST_CASE("a fence is told faults of the work before it only") {
  std::promise<std::optional<Error>> first, second;
  device().fence([&](std::optional<Error> error) { first.set_value(std::move(error)); });
  find_fault(-1);
  device().fence([&](std::optional<Error> error) { second.set_value(std::move(error)); });
  CHECK_FALSE(first.get_future().get());
  CHECK(second.get_future().get());
}

TEST_CASE("synchronous mode throws from the operation") {
  device().set_synchronous(true);
  std::string code;
  try {
    find_fault(12);
  } catch (const Error& error) {
    code = error.code();
  }
  device().set_synchronous(false);
  CHECK_EQ(code, "ERR_INDEX_RANGE");
}

TEST_CASE("the profile counts operations and their time") {
  const Tensor x = uploaded(ramp(100, 0));
  REQUIRE(!fence());
  device().take_profile();
  device().set_profiling(true);
  for (int i = 0; i < 3; ++i) increment(x, 50);
  device().submit({"broken", {}}, [] { fail("ERR_SHAPE", "no"); });
  device().set_profiling(false);
  CHECK(fence());
  const auto profile = device().take_profile();
  REQUIRE_EQ(profile.size(), 1);
  CHECK_EQ(profile[0].name, "increment");
  CHECK_EQ(profile[0].calls, 3);
  CHECK(profile[0].seconds > 0);
  CHECK(device().take_profile().empty());
}

TEST_CASE("nothing is copied where an upload has no bytes, as the first of a device") {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  PinnedMemory pinned;
  EventPool events(false);
  DeviceMemory memory([] {});
  {
    Uploads uploads(stream, memory, pinned, events);  // nothing was staged here, so no copy can be waited for
    void* block = uploads.allocate(16);
    uploads.copy(block, nullptr, 0);
    const float value = 3;
    uploads.copy(block, &value, sizeof value);
    float back = 0;
    check_cuda(cudaStreamSynchronize(stream), "stream");
    check_cuda(cudaMemcpy(&back, block, sizeof back, cudaMemcpyDeviceToHost), "copy");
    CHECK_EQ(back, 3);
    CHECK(uploads.release(block));
    uploads.empty_cache();
  }
  CHECK_EQ(memory.stats().live_tensors, 0);
  check_cuda(cudaStreamDestroy(stream), "stream");
}

TEST_CASE("tables and scratch memory live for the operation") {
  const Tensor y = empty({64}, DType::float32, DeviceType::cuda);
  const uint64_t live = device().memory().live_bytes;
  device().submit({"tables", {}}, [&] {
    std::vector<float> table = ramp(64, 5);
    const Upload upload(table);
    const Scratch scratch(4096);
    CHECK(device().memory().live_bytes > live);
    std::fill(table.begin(), table.end(), 0.f);
    check_cuda(cudaMemcpyAsync(y.raw(), upload.data<float>(), 256, cudaMemcpyDeviceToDevice,
                               current_context().stream()),
               "copy");
  });
  CHECK_EQ(device().memory().live_bytes, live);
  CHECK_EQ(read(y), ramp(64, 5));
}

TEST_CASE("threads may queue work side by side") {
  const int kThreads = 4, kRounds = 25;
  std::vector<Tensor> tensors;
  for (int t = 0; t < kThreads; ++t) tensors.push_back(uploaded(ramp(33, static_cast<float>(t))));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) increment(tensors[t], 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < kThreads; ++t) CHECK_EQ(read(tensors[t]), ramp(33, static_cast<float>(t + kRounds)));
}

TEST_CASE("drain waits for copies to the host too") {
  const Tensor x = uploaded(ramp(8, 0));
  increment(x, 1000);
  std::vector<float> values(8);
  std::atomic<bool> done{false};
  device().copy_to_host(values.data(), x.raw(), x.nbytes());
  device().fence([&](std::optional<Error>) { done = true; });
  device().drain();
  CHECK(done);
  CHECK_EQ(values, ramp(8, 1000));
}

#ifdef CUDA_EMULATION
// cuda_test.test.ts runs this once with the variable and once without.
TEST_CASE("kernels are planned for as many multiprocessors as NATIVE_CUDA_MULTIPROCESSORS says at most") {
  cudaDeviceProp device;
  REQUIRE_EQ(cudaGetDeviceProperties(&device, 0), cudaSuccess);
  const char* name = "NATIVE_CUDA_MULTIPROCESSORS";
  const char* setting = std::getenv(name);
  const std::string before = setting ? setting : "";
  CHECK_EQ(current_context().multiprocessors(), setting ? std::atoi(setting) : device.multiProcessorCount);
  for (const auto& [text, expected] : {std::pair{"3", 3}, {"1000", 132}, {"", 132}}) {
    setenv(name, text, 1);
    CHECK_EQ(chosen_multiprocessors(132), expected);
  }
  for (const char* wrong : {"0", "-1", "few"}) {
    setenv(name, wrong, 1);
    CHECK_THROWS_AS(chosen_multiprocessors(132), Error);
  }
  setenv(name, before.c_str(), 1);
}

// Run by cuda_test.test.ts with the variable.
TEST_CASE("persistent blocks are as many as fit, and more where others use the device") {
  Context& context = current_context();
  const bool before = context.shares_device();
  context.share_device(false);
  CHECK_EQ(context.persistent_blocks(1000, 12), 12);
  CHECK_EQ(context.persistent_blocks(5, 12), 5);
  context.share_device();
  CHECK_EQ(context.persistent_blocks(1000, 12), 48);
  CHECK_EQ(context.persistent_blocks(20, 12), 20);
  context.share_device(before);
}

TEST_CASE("an access past a tensor is found where NATIVE_CUDA_EXACT=1") {
  const char* setting = std::getenv("NATIVE_CUDA_EXACT");
  if (!setting || std::string(setting) != "1") return;
  const size_t count = 1024;  // of which the emulated device sees the very end
  const Tensor computed = empty({static_cast<int64_t>(count)}, DType::float32, DeviceType::cuda);
  for (const Tensor& x : {uploaded(ramp(count, 0)), computed}) {
    const auto increment_beyond = [&](int more) {
      device().submit({"increment", {}}, [&] {
        launch_kernel(increment_kernel, LaunchShape{dim3(1), 32}, x.data<float>(),
                      static_cast<int>(count) + more, 1);
      });
      return fence();
    };
    CHECK_FALSE(increment_beyond(0));
    const auto error = increment_beyond(1);
    REQUIRE(error);
    CHECK_NE(std::string(error->what()).find("no memory of the device"), std::string::npos);
  }
}

TEST_CASE("kernels are chosen by what the device and this build have in common") {
  for (const int capability : {80, 86, 89, 90}) CHECK_EQ(chosen_capability(capability), capability);
  for (const int later : {100, 103, 120}) CHECK_EQ(chosen_capability(later), 80);  // PTX of compute_80
}

// cuda_test.test.ts runs this once with the variable and once without.
TEST_CASE("grids may overlap unless NATIVE_CUDA_OVERLAP=0, and only behind grids") {
  const char* setting = std::getenv("NATIVE_CUDA_OVERLAP");
  const bool apart = setting && std::string(setting) == "0";
  CHECK_EQ(current_context().overlaps_grids(), !apart);
  Tensor x = uploaded(ramp(8, 0));
  // How many of two grids may begin before what is in front of them ends.
  const auto early = [&] {
    check_cuda(cudaStreamSynchronize(current_context().stream()), "what was queued before");
    emulation::reset_statistics();
    increment(x, 1);
    increment(x, 1);
    device().drain();
    return emulation::statistics().early;
  };
  const uint64_t second = apart ? 0 : 1;
  x = uploaded(ramp(8, 0));
  CHECK_EQ(early(), second);
  REQUIRE(!fence());
  CHECK_EQ(early(), second);
  std::vector<float> values(8);
  device().copy_to_host(values.data(), x.raw(), x.nbytes());
  CHECK_EQ(early(), second);
  REQUIRE(!fence());
  device().begin_recording(nullptr);
  increment(x, 1);
  const std::unique_ptr<Recording> recording = device().end_recording();
  CHECK_EQ(early(), second);
  recording->replay();
  CHECK_EQ(early(), second);
  CHECK_EQ(read(x), ramp(8, 11));
}
#endif

TEST_CASE("float types of the device") {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) CHECK(device().computes(dtype));
  for (const DType dtype : {DType::int64, DType::int32, DType::uint8}) CHECK_FALSE(device().computes(dtype));
}

TEST_CASE("work goes to its device whichever one other code of the process has chosen for the thread") {
  int devices = 0;
  REQUIRE_EQ(cudaGetDeviceCount(&devices), cudaSuccess);
  const int own = selected_device(DeviceType::cuda);
  if (devices < 2) {
    MESSAGE("not tested: there is one device");
    return;
  }
  const auto elsewhere = [&] { REQUIRE_EQ(cudaSetDevice(own == 0 ? 1 : 0), cudaSuccess); };
  elsewhere();
  const Tensor x = uploaded(ramp(300, 0));
  elsewhere();
  increment(x, 1);
  elsewhere();
  CHECK_EQ(read(x), ramp(300, 1));
  elsewhere();
  device().begin_recording(nullptr);
  constexpr int kConstants = 300;
  for (int i = 0; i < kConstants; ++i) accumulate(x, uploaded(std::vector<float>(300, 1)));
  std::unique_ptr<Recording> recording = device().end_recording();
  elsewhere();
  recording->replay();
  elsewhere();
  recording.reset();  // the bytes it has staged are taken back behind events, more than lie idle
  const auto error = fence();
  CHECK_MESSAGE(!error, (error ? error->what() : ""));
  elsewhere();
  increment(x, 1);
  CHECK_EQ(read(x)[10], 10 + 1 + kConstants + 1);
}

#ifdef CUDA_EMULATION
TEST_CASE("work goes to the runtime's context whichever one other code has made the thread's") {
  const auto elsewhere = [] { emulation::enter_other_context(); };
  elsewhere();
  Tensor x = uploaded(ramp(300, 0));
  elsewhere();
  increment(x, 1);
  elsewhere();
  CHECK_EQ(read(x), ramp(300, 1));
  elsewhere();
  x = Tensor();
  elsewhere();
  CHECK_FALSE(fence());
}

TEST_CASE("page-locked memory that lies idle in other sizes is given back when there is no other") {
  PinnedMemory pinned;
  pinned.give(pinned.take(size_t{1} << 20));
  emulation::set_pinned_limit(0);  // less than is in use: nothing can be taken
  std::string code;
  try {
    pinned.take(4096);
  } catch (const Error& error) {
    code = error.code();
  }
  emulation::set_pinned_limit(SIZE_MAX);
  CHECK_EQ(code, "ERR_OUT_OF_MEMORY");
  const size_t used = emulation::pinned_in_use();
  pinned.give(pinned.take(size_t{1} << 20));
  emulation::set_pinned_limit(used + (size_t{1} << 20));
  const PinnedMemory::Block block = pinned.take(8192);  // fits when the idle one has gone
  emulation::set_pinned_limit(SIZE_MAX);
  CHECK(block.data);
  CHECK_EQ(emulation::pinned_in_use(), used + 8192);
  pinned.give(block);
  pinned.empty_cache();
  CHECK_EQ(emulation::pinned_in_use(), used);
}
#endif
