// What ends work before it is done: a deadline, a flag of the caller, and the closing of the video it runs
// on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "../core/error.h"

namespace native::video {

using Flag = std::shared_ptr<std::atomic<bool>>;

inline Flag make_flag() { return std::make_shared<std::atomic<bool>>(false); }

class Stop {
 public:
  // `deadline_ms` counts from now; `cancelled` and `closed` may be null.
  Stop(int64_t deadline_ms, Flag cancelled = nullptr, Flag closed = nullptr)
      : deadline_ms_(deadline_ms),
        deadline_(std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms)),
        cancelled_(std::move(cancelled)),
        closed_(std::move(closed)) {}

  bool requested() const noexcept {
    return is_set(cancelled_) || is_set(closed_) || std::chrono::steady_clock::now() >= deadline_;
  }

  std::chrono::steady_clock::time_point deadline() const noexcept { return deadline_; }

  // Throws ERR_ABORTED, ERR_DISPOSED or ERR_VIDEO_TIMEOUT when work on `name` has to end.
  void check(const std::string& name) const {
    CHECK(!is_set(cancelled_), "ERR_ABORTED", name, ": reading was aborted");
    CHECK(!is_set(closed_), "ERR_DISPOSED", name, ": the video was closed");
    CHECK(std::chrono::steady_clock::now() < deadline_, "ERR_VIDEO_TIMEOUT", name, ": not done within ",
          deadline_ms_, " ms; raise deadlineMs if the file is sound");
  }

 private:
  static bool is_set(const Flag& flag) noexcept { return flag && flag->load(std::memory_order_relaxed); }

  int64_t deadline_ms_;
  std::chrono::steady_clock::time_point deadline_;
  Flag cancelled_, closed_;
};

}  // namespace native::video
