// Work that another thread watches, because a read may block for as long as a server or a disk likes: no flag
// and no deadline ends a system call.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

namespace native::video {

// The watcher can give work up while it is blocked, and only then. What was given up finds out when the call
// returns at last, and does nothing more than end: it reads nothing, and writes nothing to memory of others.
class Watch : public std::enable_shared_from_this<Watch> {
 public:
  using Clock = std::chrono::steady_clock;

  // Makes a watch that of the present thread's work while it lives.
  class Scope {
   public:
    explicit Scope(Watch& watch) {
      watch.thread_ = std::this_thread::get_id();
      current() = &watch;
    }
    ~Scope() { current() = nullptr; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

  // A call that may block, on behalf of `name`, which has to be done by `deadline`.
  class Blocking {
   public:
    Blocking(const std::string& name, Clock::time_point deadline) : watch_(current()) {
      if (watch_ == nullptr || watch_->given_up()) return;
      if (watch_->name_ != name) watch_->name_ = name;
      watch_->deadline_ = deadline;
      watch_->state_ = kBlocked;
    }
    ~Blocking() { end(); }
    Blocking(const Blocking&) = delete;
    Blocking& operator=(const Blocking&) = delete;
    // The call has returned. False when the work was given up meanwhile.
    bool end() {
      int expected = kBlocked;
      return watch_ == nullptr || watch_->state_.compare_exchange_strong(expected, kWorking) ||
             expected == kWorking;
    }

   private:
    Watch* watch_;
  };

  // That of the present thread's work, or null.
  static std::shared_ptr<const Watch> of_this_thread() {
    return current() == nullptr ? nullptr : current()->shared_from_this();
  }

  bool blocked() const { return state_.load() == kBlocked; }
  bool given_up() const { return state_.load() == kGivenUp; }

  // By the watcher: gives the work up if it is blocked. True when it did; then the two below are known.
  bool give_up() {
    int expected = kBlocked;
    return state_.compare_exchange_strong(expected, kGivenUp);
  }
  std::thread::id thread() const { return thread_; }
  const std::string& name() const { return name_; }

  // Blocked longer than its deadline allows. (A time that is about to be replaced is one that has not
  // passed.)
  bool overdue() const { return blocked() && Clock::now() > deadline_.load(); }

 private:
  enum State { kWorking, kBlocked, kGivenUp };
  static Watch*& current() {
    static thread_local Watch* watch = nullptr;
    return watch;
  }

  std::atomic<int> state_{kWorking};
  std::atomic<Clock::time_point> deadline_{Clock::time_point::max()};
  std::thread::id thread_;
  std::string name_;
};

}  // namespace native::video
