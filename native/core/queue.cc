#include "core/queue.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <new>
#include <system_error>
#include <utility>

namespace native {
namespace {

std::thread start_thread(std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error&) {
    fail("ERR_SYSTEM",
         "the system starts no thread for the operations; raise its limit (ulimit -u, or that of the "
         "container), or end what holds them");
  }
}

}  // namespace

CpuQueue::CpuQueue()
    : allocator_([this] { return submitted_.load(); }, [this] { return completed_.load(); }),
      thread_(start_thread([this] { run(); })) {
  const char* sync = std::getenv("NATIVE_SYNC");
  synchronous_ = sync && std::strcmp(sync, "1") == 0;
}

CpuQueue::~CpuQueue() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void CpuQueue::push(Task task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    submitted_.fetch_add(1);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void CpuQueue::submit(OpSite site, std::function<void()> work) {
  push({std::move(site), std::move(work), nullptr});
  if (!synchronous_) return;
  std::promise<std::optional<Error>> promise;
  fence([&promise](std::optional<Error> error) { promise.set_value(std::move(error)); });
  if (auto error = promise.get_future().get()) throw *error;
}

void CpuQueue::fence(std::function<void(std::optional<Error>)> done) {
  push({{"fence", {}}, nullptr, std::move(done)});
}

void CpuQueue::copy_to_host(void* host, const void* device, size_t bytes) {
  submit({"copy_to_host", {}}, [=] { std::memcpy(host, device, bytes); });
}

void CpuQueue::copy_from_host(void* device, const void* host, size_t bytes) {
  submit({"copy_from_host", {}}, [=] { std::memcpy(device, host, bytes); });
}

void CpuQueue::drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t queued = submitted_;
  idle_.wait(lock, [this, queued] { return completed_ >= queued; });
}

void CpuQueue::execute(Task& task) {
  if (task.done) {
    std::optional<Error> error = std::move(error_);
    error_.reset();
    task.done(std::move(error));
    return;
  }
  const auto keep = [&](const std::string& code, const std::string& reason) {
    if (!error_) error_ = failure(task.site, code, reason);
  };
  try {
    task.work();
  } catch (const Error& error) {
    keep(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    keep("ERR_OUT_OF_MEMORY", "out of memory");
  } catch (const std::exception& error) {
    keep("ERR_INTERNAL", error.what());
  }
}

void CpuQueue::run() {
  for (;;) {
    Task task;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      idle_.notify_all();
      wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    if (profiling_) {
      const auto start = std::chrono::steady_clock::now();
      execute(task);
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      std::lock_guard<std::mutex> lock(mutex_);
      OpTime& time = profile_[task.site.name];
      time.calls += 1;
      time.seconds += spent.count();
    } else {
      execute(task);
    }
    task = {};
    completed_.fetch_add(1);
  }
}

std::vector<OpTime> CpuQueue::take_profile() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<OpTime> times;
  for (auto& [name, time] : profile_) times.push_back({name, time.calls, time.seconds});
  profile_.clear();
  return times;
}

// Never destroyed: tensors of several JavaScript environments may outlive any one of them, and process exit
// must not wait for queued work.
CpuQueue& cpu_queue() {
  static CpuQueue* queue = new CpuQueue;
  return *queue;
}

namespace {
DeviceBackend* open_cpu() { return &cpu_queue(); }
DeviceReport report_cpu() { return {true, "", {}}; }
const bool g_registered = (register_backend(DeviceType::cpu, {open_cpu, report_cpu}), true);
}  // namespace

}  // namespace native
