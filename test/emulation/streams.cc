#include "streams.h"

#include <chrono>
#include <cstring>
#include <map>

#include "driver.h"

namespace emulation {
namespace {
// One grid runs at a time on the emulated device.
std::mutex g_device;

// How often a kernel is watched: to take all memory away and give it back may cost more than a small kernel,
// and threads that all come to the wait before any goes on cannot miss a barrier in front of it.
constexpr int kWatchedLaunches = 32;

// A kernel that waits for the grid in front comes as far as it does without the memory of the device, as if
// that grid had not done anything yet; also where this launch may not start early. That finds every access
// before wait_for_previous_grid(), in the first launches of each kernel; what comes before the wait does not
// depend on data.
void run_kernel(const Launch& launch) {
  std::lock_guard<std::mutex> device(g_device);
  static std::map<const void*, int> launches;
  catch_faults();
  if (launch.foreign) {
    native::fail("ERR_INTERNAL", "kernel ", function_name(launch.kernel), ": its argument ", launch.foreign,
                 " is no memory of the device");
  }
  Grid grid(launch);
  if (launch.overlap) ++g_statistics.early;
  if (launch.waits && launches[launch.kernel]++ < kWatchedLaunches) {
    const NoDeviceMemory early;
    grid.run(true);
  }
  grid.run(false);
}

}  // namespace

void copy_memory(void* to, const void* from, size_t bytes) {
  std::lock_guard<std::mutex> device(g_device);
  std::memcpy(to, from, bytes);
}

void set_memory(void* to, int value, size_t bytes) {
  std::lock_guard<std::mutex> device(g_device);
  std::memset(to, value, bytes);
}

void Recording::finish(std::shared_ptr<Failure> with) {
  const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
  std::lock_guard<std::mutex> lock(mutex);
  seconds = now.count();
  failure = std::move(with);
  done = true;
  ready.notify_all();
}

void Recording::wait() {
  std::unique_lock<std::mutex> lock(mutex);
  ready.wait(lock, [this] { return done; });
}

}  // namespace emulation

using namespace emulation;

EmulatedStream::EmulatedStream(bool blocking) : blocking(blocking), thread_([this] { run(); }) {}

EmulatedStream::~EmulatedStream() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void EmulatedStream::push(Task task) {
  if (capture) {
    capture->tasks.push_back(std::move(task));
    ++reached[this];
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    ++pushed_;
  }
  wake_.notify_all();
}

std::shared_ptr<Recording> EmulatedStream::record() {
  auto recording = std::make_shared<Recording>();
  push({[this, recording] { recording->finish(failure_); }, nullptr});
  return recording;
}

std::shared_ptr<Failure> EmulatedStream::synchronize() {
  const auto recording = record();
  recording->wait();
  return recording->failure;
}

bool EmulatedStream::idle() {
  std::lock_guard<std::mutex> lock(mutex_);
  return finished_ == pushed_;
}

void EmulatedStream::keep(const std::string& text) {
  if (failure_ && !failure_->told) return;
  failure_ = std::make_shared<Failure>();
  failure_->text = text;
}

void EmulatedStream::execute(const Task& task) {
  try {
    if (task.kernel) {
      run_kernel(*task.kernel);
    } else {
      task.work();
    }
  } catch (const std::exception& error) {
    keep(error.what());
  }
}

void EmulatedStream::run() {
  reach_device_memory();
  for (;;) {
    Task task;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    execute(task);
    std::lock_guard<std::mutex> lock(mutex_);
    ++finished_;
  }
}
