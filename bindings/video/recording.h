// A file that is being encoded, one call after another.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "../../native/video/encoder.h"

namespace bindings {

class Recording {
 public:
  static constexpr int64_t kNoDeadline = int64_t{1} << 40;  // milliseconds

  Recording(std::unique_ptr<native::video::Encoder> encoder, int width, int height)
      : encoder_(std::move(encoder)), path_(encoder_->path()), width_(width), height_(height) {}

  int width() const { return width_; }
  int height() const { return height_; }

  // Holds while a call is under way. Calls would run in any order, so that a second one is refused.
  using Turn = std::shared_ptr<void>;
  Turn take_turn() {
    CHECK(!*closed_, "ERR_DISPOSED", path_, ": the file was finished or closed");
    CHECK(!busy_->exchange(true), "ERR_ARGUMENT", path_, ": await the call before");
    const std::shared_ptr<std::atomic<bool>> busy = busy_;
    return Turn(nullptr, [busy](void*) { *busy = false; });
  }

  // Calls `body` with the encoder and what stops it. Nothing is left of the file when it throws.
  template <class Body>
  void use(const Turn&, const native::video::Flag& cancelled, const Body& body) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      CHECK(!*closed_ && encoder_, "ERR_DISPOSED", path_, ": the file was finished or closed");
      try {
        body(*encoder_, native::video::Stop(kNoDeadline, cancelled, closed_));
      } catch (...) {
        *closed_ = true;
        encoder_.reset();
        throw;
      }
    }
    release_if_closed();  // when it was closed meanwhile
  }

  // Removes what is written unless it is finished; stops the call under way.
  void close() {
    *closed_ = true;
    release_if_closed();
  }

 private:
  void release_if_closed() {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (lock.owns_lock() && *closed_) encoder_.reset();
  }

  std::mutex mutex_;
  std::unique_ptr<native::video::Encoder> encoder_;
  std::string path_;
  int width_, height_;
  native::video::Flag closed_ = native::video::make_flag();
  native::video::Flag busy_ = native::video::make_flag();
};

}  // namespace bindings
