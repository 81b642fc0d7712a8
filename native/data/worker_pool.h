// Threads that do independent work, first come first served. In a pause they give freed memory back to the
// system.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace native::data {

class WorkerPool {
 public:
  // Must not throw. Returns false when its thread was abandoned meanwhile.
  using Work = std::function<bool()>;

  // `capacity` bounds the work that waits. Threads are started with the first work.
  // In pauses `release` gives up what was kept for further work, and says whether there was any.
  WorkerPool(int workers, size_t capacity, std::function<bool()> release)
      : wanted_(workers), capacity_(capacity), release_(std::move(release)) {}
  // Drops what has not begun and waits for what runs.
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when the queue is full or the pool was stopped; the work is not taken then, nor when it throws
  // ERR_SYSTEM: there is no thread, and the system starts none.
  bool submit(Work work);
  // More threads start with the next work; too many end after the work they do. Those in the background leave
  // the cores to whoever else wants them (on Linux; elsewhere it makes no difference).
  void set_workers(int workers, bool background);
  void stop();
  // Gives up a thread whose work will not return for long, if ever: another one takes its place, and nobody
  // waits for it. When its work returns after all, the thread ends.
  void abandon(std::thread::id thread);
  // Starts a thread where work waits and none is left: the system may have refused the one that was to take
  // an abandoned one's place.
  void start_missing();

  struct Counts {
    size_t queued;
    int workers;
  };
  Counts counts() const;

 private:
  bool add_thread();
  void loop();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  std::vector<std::thread> threads_;  // also those that have ended, until stop()
  int wanted_, alive_ = 0;
  size_t capacity_, running_ = 0;
  const std::function<bool()> release_;
  bool stopped_ = false;
  bool background_ = false;
  bool worked_ = false;  // since memory was given back
};

}  // namespace native::data
