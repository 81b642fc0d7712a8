#include "streams.h"

#include <chrono>

namespace emulation {
namespace {
// One grid runs at a time on the emulated device.
std::mutex g_device;
}  // namespace

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

EmulatedStream::EmulatedStream() : thread_([this] { run(); }) {}

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

void EmulatedStream::run_kernel(const Launch& launch, const Launch* next) {
  std::lock_guard<std::mutex> device(g_device);
  catch_faults();
  std::unique_ptr<Grid> grid = early_launch_ == &launch ? std::move(early_) : std::make_unique<Grid>(launch);
  early_launch_ = nullptr;
  if (!grid) return;  // it failed when it was started early
  // A kernel that says it may start early is started before the one in front of it has done anything:
  // whatever it does before wait_for_previous_grid() happens too soon.
  if (next && next->overlap) {
    early_launch_ = next;
    try {
      early_ = std::make_unique<Grid>(*next);
      early_->run(true);
    } catch (const std::exception& error) {
      early_.reset();
      keep(error.what());
    }
  }
  grid->run(false);
}

void EmulatedStream::execute(const Task& task, const Launch* next) {
  try {
    if (task.kernel) {
      run_kernel(*task.kernel, next);
    } else {
      task.work();
    }
  } catch (const std::exception& error) {
    keep(error.what());
  }
}

void EmulatedStream::run() {
  for (;;) {
    Task task;
    std::shared_ptr<Launch> next;  // the kernel right behind, if there is one already
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      if (!tasks_.empty()) next = tasks_.front().kernel;
    }
    execute(task, next.get());
    std::lock_guard<std::mutex> lock(mutex_);
    ++finished_;
  }
}
