// A video that JavaScript has open.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../../native/video/reader.h"
#include "../../native/video/watch.h"

namespace bindings {

// An open video. Calls use it one at a time (Environment::run_in_turn); closing stops the one that runs.
class Video {
 public:
  // `deadline_ms` is that of calls that have none of their own.
  Video(std::unique_ptr<native::video::Reader> reader, int64_t deadline_ms,
        std::shared_ptr<std::atomic<int>> counter)
      : reader_(std::move(reader)),
        info_(reader_->info()),
        name_(reader_->name()),
        deadline_ms_(deadline_ms),
        counter_(std::move(counter)) {
    ++*counter_;
  }
  ~Video() { close(); }

  const native::video::Info& info() const { return info_; }
  const std::string& name() const { return name_; }
  int64_t deadline_ms() const { return deadline_ms_; }

  void check_open() const { CHECK(!*closed_, "ERR_DISPOSED", name_, ": the video was closed"); }

  // What stops a call; its deadline counts from now on.
  native::video::Stop stop(int64_t deadline_ms, const native::video::Flag& cancelled) const {
    return native::video::Stop(deadline_ms, cancelled, closed_);
  }

  // Calls `use` with the reader, when the calls before have ended or were given up.
  template <class Use>
  void with_reader(const Use& use) {
    const AtEnd release([this] { release_if_closed(); });  // when it was closed meanwhile
    check_open();
    // One that was given up holds the reader, perhaps for ever, and leaves it in the middle of a read.
    CHECK(!holder_ || !holder_->given_up(), "ERR_VIDEO_TIMEOUT", name_,
          ": a read of an earlier call has not returned; close the video and open it again");
    const std::lock_guard<std::mutex> lock(mutex_);
    check_open();
    holder_ = native::video::Watch::of_this_thread();
    const AtEnd note([this] { note_damage(); });
    use(*reader_);
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

  void note_damage() {
    const std::set<int32_t>& passed = reader_->passed_damage();
    if (passed.size() == damage_.size()) return;
    const std::lock_guard<std::mutex> lock(damage_mutex_);
    damage_.assign(passed.begin(), passed.end());
  }

  void release_if_closed() {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || !*closed_ || !reader_) return;
    reader_.reset();
    --*counter_;
  }

  std::mutex mutex_;
  std::shared_ptr<const native::video::Watch> holder_;  // of the call whose turn was last
  mutable std::mutex damage_mutex_;
  std::vector<int32_t> damage_;
  std::unique_ptr<native::video::Reader> reader_;
  native::video::Info info_;
  std::string name_;
  int64_t deadline_ms_;
  native::video::Flag closed_ = native::video::make_flag();
  std::shared_ptr<std::atomic<int>> counter_;
};

}  // namespace bindings
