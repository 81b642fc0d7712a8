// A video that JavaScript has open.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../../native/video/reader.h"
#include "../../native/video/watch.h"

namespace bindings {

// An open video. Reads run one at a time; closing stops the one that runs.
class Video {
 public:
  Video(std::unique_ptr<native::video::Reader> reader, std::shared_ptr<std::atomic<int>> counter)
      : reader_(std::move(reader)),
        info_(reader_->info()),
        name_(reader_->name()),
        counter_(std::move(counter)) {
    ++*counter_;
  }
  ~Video() { close(); }

  const native::video::Info& info() const { return info_; }

  void check_open() const { CHECK(!*closed_, "ERR_DISPOSED", name_, ": the video was closed"); }

  // Calls `use` with the reader and what stops it. The deadline starts when its turn has come.
  template <class Use>
  void with_reader(int64_t deadline_ms, const native::video::Flag& cancelled, const Use& use) {
    const AtEnd release([this] { release_if_closed(); });  // when it was closed meanwhile
    const std::unique_lock<std::timed_mutex> lock = take_turn(cancelled);
    const AtEnd note([this] { note_damage(); });
    use(*reader_, native::video::Stop(deadline_ms, cancelled, closed_));
  }

  // Frames that decoding stumbled over so far, ascending.
  std::vector<int32_t> damage() const {
    const std::lock_guard<std::mutex> lock(damage_mutex_);
    return damage_;
  }

  void close() {
    closed_->store(true);
    release_if_closed();
  }

 private:
  // Calls a function at the end of a block, also when that is left by an exception.
  template <class Call>
  struct AtEnd {
    explicit AtEnd(Call call) : call(std::move(call)) {}
    ~AtEnd() { call(); }
    Call call;
  };

  // Waits for the calls before, unless it is `cancelled`. One that is stuck in a read may never end.
  std::unique_lock<std::timed_mutex> take_turn(const native::video::Flag& cancelled) {
    std::unique_lock<std::timed_mutex> lock(mutex_, std::defer_lock);
    do {
      check_open();
      CHECK(!*cancelled, "ERR_ABORTED", name_, ": reading was aborted");
      const std::lock_guard<std::mutex> guard(holder_mutex_);
      CHECK(!holder_ || !holder_->given_up(), "ERR_VIDEO_TIMEOUT", name_,
            ": a read of an earlier call has not returned; close the video and open it again");
    } while (!lock.try_lock_for(std::chrono::milliseconds(100)));
    check_open();
    const std::lock_guard<std::mutex> guard(holder_mutex_);
    holder_ = native::video::Watch::of_this_thread();
    return lock;
  }

  void note_damage() {
    const std::set<int32_t>& passed = reader_->passed_damage();
    if (passed.size() == damage_.size()) return;
    const std::lock_guard<std::mutex> lock(damage_mutex_);
    damage_.assign(passed.begin(), passed.end());
  }

  void release_if_closed() {
    const std::unique_lock<std::timed_mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || !*closed_ || !reader_) return;
    reader_.reset();
    --*counter_;
  }

  std::timed_mutex mutex_;
  std::mutex holder_mutex_;
  std::shared_ptr<const native::video::Watch> holder_;  // of the call that took its turn last
  mutable std::mutex damage_mutex_;
  std::vector<int32_t> damage_;
  std::unique_ptr<native::video::Reader> reader_;
  native::video::Info info_;
  std::string name_;
  native::video::Flag closed_ = native::video::make_flag();
  std::shared_ptr<std::atomic<int>> counter_;
};

}  // namespace bindings
