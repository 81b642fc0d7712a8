#include "worker_pool.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <sys/resource.h>
#endif

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "../core/error.h"

namespace native::data {
namespace {

constexpr auto kPause = std::chrono::milliseconds(200);

// Pictures of 720 lines and more take blocks that glibc gives back to the system as soon as a video is
// closed, and the next one pays for fresh pages. These are the limits that glibc arrives at by itself once a
// program has freed a block of 32 MB. Pauses give the memory back.
void keep_free_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

// glibc keeps what was freed between blocks that are in use: after large pictures that is a lot.
void return_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

// Threads that multiply meet after every operation: where one of them shares its core with decoding on equal
// terms, all others wait for it. Decoding, which is ahead of them, gets what they leave.
void yield_to_others() {
#ifdef __linux__
  constexpr id_t kThisThread = 0;
  setpriority(PRIO_PROCESS, kThisThread, 19);
#endif
}

}  // namespace

bool WorkerPool::submit(Work work) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stopped_ || queue_.size() >= capacity_) return false;
  // A thread more than the idle ones is needed when all of them are spoken for.
  const size_t idle = static_cast<size_t>(alive_) - running_;
  const bool wants_thread = alive_ < wanted_ && queue_.size() >= idle;
  CHECK(
      !wants_thread || add_thread() || alive_ > 0, "ERR_SYSTEM",
      "the system starts no thread for this work; raise its limit (ulimit -u, or that of the container), or "
      "end what holds them");
  queue_.push_back(std::move(work));
  changed_.notify_one();
  return true;
}

// False when the system starts no more. Those that are there do the work then.
bool WorkerPool::add_thread() {
  static std::once_flag once;
  std::call_once(once, keep_free_memory);
  try {
    threads_.emplace_back(&WorkerPool::loop, this);
  } catch (const std::system_error&) {
    return false;
  }
  ++alive_;
  return true;
}

void WorkerPool::abandon(std::thread::id thread) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find_if(threads_.begin(), threads_.end(),
                                  [thread](const std::thread& own) { return own.get_id() == thread; });
  if (found == threads_.end()) return;
  found->detach();
  threads_.erase(found);
  --alive_;
  --running_;
  if (!stopped_ && alive_ < wanted_ && !queue_.empty()) add_thread();
}

void WorkerPool::start_missing() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!stopped_ && alive_ == 0 && !queue_.empty()) add_thread();
}

void WorkerPool::set_workers(int workers, bool background) {
  const std::lock_guard<std::mutex> lock(mutex_);
  wanted_ = workers;
  background_ = background;
  changed_.notify_all();
}

WorkerPool::Counts WorkerPool::counts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {queue_.size(), wanted_};
}

void WorkerPool::stop() {
  std::deque<Work> dropped;
  std::vector<std::thread> threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    dropped.swap(queue_);
    threads.swap(threads_);
    changed_.notify_all();
  }
  for (std::thread& thread : threads) thread.join();
}

void WorkerPool::loop() {
  bool in_background = false;
  std::unique_lock<std::mutex> lock(mutex_);
  const auto misplaced = [&] { return in_background && !background_; };
  const auto needed = [&] { return stopped_ || alive_ > wanted_ || misplaced() || !queue_.empty(); };
  for (;;) {
    if (!changed_.wait_for(lock, kPause, needed)) {
      if (running_ == 0) {
        const bool worked = std::exchange(worked_, false);
        lock.unlock();
        const bool released = release_();
        if (worked || released) return_free_memory();
        lock.lock();
      }
      changed_.wait(lock, needed);
    }
    if (stopped_ || alive_ > wanted_) break;
    // The system lets nobody but an administrator raise a thread's priority, so that it ends and submit
    // starts another; the last idle one does the work that is there already.
    if (misplaced() && (queue_.empty() || static_cast<size_t>(alive_) > running_ + 1)) break;
    if (background_ && !in_background) {
      yield_to_others();
      in_background = true;
    }
    Work work = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    worked_ = true;
    lock.unlock();
    if (!work()) return;  // abandoned: the pool may be gone
    work = nullptr;
    lock.lock();
    --running_;
  }
  --alive_;
  changed_.notify_one();  // the wake-up may have been for work that another thread has to take
}

}  // namespace native::data
