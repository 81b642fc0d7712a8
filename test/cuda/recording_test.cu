// Recorded work of the CUDA device, and a device that is lost: what is told, and what can be let go of.
#include <thread>

#include "device_work.cuh"
#include "ops/copy.h"
#ifdef CUDA_EMULATION
#include "emulation.h"
#endif

#undef CHECK  // the test's own from here on
#include <doctest/doctest.h>

using namespace native;
using namespace native::cuda;

TEST_CASE("recorded work runs at each replay, on the values that its inputs have then") {
  const Tensor x = uploaded(ramp(300, 0));
  REQUIRE(!fence());
  const MemoryStats before = device().memory();
  {
    device().begin_recording(nullptr);
    Tensor y = cast(x, DType::float32);
    increment(y, 3);
    const Tensor constant = uploaded(ramp(300, 1000));
    accumulate(y, constant);
    {
      const Tensor passing = cast(y, DType::bfloat16);
      copy_into(passing, y);
    }
    const std::unique_ptr<Recording> recording = device().end_recording();
    for (int i = 0; i < 4; ++i) {
      copy_into(x, uploaded(ramp(300, static_cast<float>(10 * i))));
      recording->replay();
      // Other work takes and leaves memory between replays.
      const Tensor other = full({300}, -5, DType::float32, DeviceType::cuda);
      std::vector<float> expected = ramp(300, static_cast<float>(10 * i + 3 + 1000));
      for (size_t k = 0; k < expected.size(); ++k) expected[k] += static_cast<float>(k);
      CHECK(read(y) == expected);
      CHECK(read(other) == std::vector<float>(300, -5));
    }
  }
  CHECK_EQ(device().memory().live_tensors, before.live_tensors);
}

TEST_CASE("recordings beside each other share memory, and what one leaves for the other is kept") {
  const int64_t large = 40 << 20;  // bytes
  const Tensor x = uploaded(ramp(8, 0)), sum = uploaded(ramp(8, 0));
  REQUIRE(!fence());
  device().empty_cache();
  const uint64_t before = device().memory().reserved_bytes;
  const auto overwrite_free_memory = [&] { full({large}, 255, DType::uint8, DeviceType::cuda); };
  device().begin_recording(nullptr);
  Tensor left = cast(x, DType::float32);
  overwrite_free_memory();
  std::unique_ptr<Recording> first = device().end_recording();
  device().begin_recording(first.get());
  overwrite_free_memory();
  accumulate(sum, left);
  std::unique_ptr<Recording> second = device().end_recording();
  // One large block and one small segment: the second recording took nothing.
  CHECK_EQ(device().memory().reserved_bytes - before, large + (2 << 20));
  first->replay();
  second->replay();
  second->replay();
  std::vector<float> expected = ramp(8, 0);
  for (float& value : expected) value *= 3;
  CHECK(read(sum) == expected);
  // The memory is given up with the last of the two.
  first.reset();
  second->replay();
  for (float& value : expected) value *= 4.0f / 3.0f;
  CHECK(read(sum) == expected);
  second.reset();
  left = Tensor();
  device().empty_cache();
  CHECK_EQ(device().memory().reserved_bytes, before);
}

TEST_CASE("a recording may go while another is made: what it staged is taken back afterwards") {
  const Tensor x = uploaded(ramp(8, 0)), y = uploaded(ramp(8, 0));
  REQUIRE(!fence());
  const auto record_constant = [&](const Tensor& target, float first) {
    device().begin_recording(nullptr);
    accumulate(target, uploaded(ramp(8, first)));
    return device().end_recording();
  };
  std::unique_ptr<Recording> first = record_constant(x, 100);
  first->replay();
  device().begin_recording(nullptr);
  first.reset();  // its constant is still to be read by the replay that is queued
  accumulate(y, uploaded(ramp(8, 200)));
  const std::unique_ptr<Recording> second = device().end_recording();
  // Uploads look whether what was staged before has been copied.
  for (int i = 0; i < 3; ++i) CHECK_EQ(read(uploaded(ramp(1000, 5))), ramp(1000, 5));
  second->replay();
  second->replay();
  std::vector<float> expected(8);
  for (size_t i = 0; i < 8; ++i) expected[i] = static_cast<float>(100 + 2 * i);
  CHECK_EQ(read(x), expected);
  for (size_t i = 0; i < 8; ++i) expected[i] = static_cast<float>(400 + 3 * i);
  CHECK_EQ(read(y), expected);
}

TEST_CASE("while work is recorded nothing runs, and nothing can be read") {
  const Tensor x = uploaded(ramp(8, 0));
  REQUIRE(!fence());
  device().begin_recording(nullptr);
  increment(x, 1);
  const auto refused = fence();
  const std::unique_ptr<Recording> recording = device().end_recording();
  REQUIRE(refused);
  CHECK_EQ(refused->code(), "ERR_DEVICE");
  CHECK_EQ(read(x), ramp(8, 0));
  recording->replay();
  recording->replay();
  CHECK_EQ(read(x), ramp(8, 2));
}

TEST_CASE("recorded work cannot be replayed into a recording") {
  const Tensor x = uploaded(ramp(8, 0));
  device().begin_recording(nullptr);
  increment(x, 1);
  const std::unique_ptr<Recording> recording = device().end_recording();
  device().begin_recording(nullptr);
  recording->replay();
  std::string reason;
  try {
    device().end_recording();
  } catch (const Error& error) {
    reason = error.what();
  }
  CHECK_NE(reason.find("cannot be replayed while work is being recorded"), std::string::npos);
  recording->replay();
  CHECK_EQ(read(x), ramp(8, 1));
}

TEST_CASE("a recording that nobody will end is discarded, and other threads find the device free") {
  const Tensor x = uploaded(ramp(8, 0));
  device().begin_recording(nullptr);
  increment(x, 1);
  device().drain();
  std::thread([&] { increment(x, 10); }).join();
  CHECK_EQ(read(x), ramp(8, 10));
}

TEST_CASE("an operation that fails while it is recorded fails the recording, and the device goes on") {
  const Tensor x = uploaded(ramp(8, 0));
  device().begin_recording(nullptr);
  device().submit({"broken", {}}, [] { fail("ERR_SHAPE", "does not fit"); });
  std::string code;
  try {
    device().end_recording();
  } catch (const Error& error) {
    code = error.code();
  }
  CHECK_EQ(code, "ERR_SHAPE");
  increment(x, 1);
  CHECK_EQ(read(x), ramp(8, 1));
}

TEST_CASE("what failed before a recording is told of by the next wait and not by the recording") {
  device().submit({"before", {}}, [] { fail("ERR_SHAPE", "does not fit"); });
  device().begin_recording(nullptr);
  const Tensor y = full({8}, 1, DType::float32, DeviceType::cuda);
  const std::unique_ptr<Recording> recording = device().end_recording();
  const std::optional<Error> error = fence();
  REQUIRE(error);
  CHECK(std::string(error->what()).find("before") != std::string::npos);
  recording->replay();
  CHECK(!fence());
}

TEST_CASE("a fault in recorded work names its operation at every replay") {
  device().begin_recording(nullptr);
  find_fault(42);
  const std::unique_ptr<Recording> recording = device().end_recording();
  CHECK_FALSE(fence());
  for (int i = 0; i < 2; ++i) {
    recording->replay();
    const auto error = fence();
    REQUIRE(error);
    CHECK_NE(std::string(error->what()).find("look_up: index 42"), std::string::npos);
  }
}

#ifdef CUDA_EMULATION
TEST_CASE("a lost device is told of at each wait, and what it holds can still be let go of") {
  REQUIRE(!fence());
  const MemoryStats before = device().memory();
  {
    Tensor filled = uploaded(ramp(300, 1)), computed = full({300}, 2, DType::float32, DeviceType::cuda);
    device().begin_recording(nullptr);
    increment(computed, 1);
    accumulate(computed, uploaded(ramp(300, 7)));
    std::unique_ptr<Recording> recording = device().end_recording();
    REQUIRE(!fence());
    emulation::lose_device(true);
    for (int i = 0; i < 2; ++i) {
      increment(computed, 1);
      recording->replay();
      const auto error = fence();
      REQUIRE(error);
      CHECK_EQ(error->code(), "ERR_DEVICE");
      CHECK_NE(std::string(error->what()).find("cudaErrorIllegalAddress"), std::string::npos);
    }
    std::string code;
    try {
      device().begin_recording(nullptr);
    } catch (const Error& error) {
      code = error.code();
    }
    CHECK_EQ(code, "ERR_DEVICE");
    recording.reset();
  }
  device().drain();
  emulation::lose_device(false);
  fence();
  CHECK_EQ(device().memory().live_tensors, before.live_tensors);
  CHECK_EQ(read(uploaded(ramp(8, 0))), ramp(8, 0));
}
#endif
