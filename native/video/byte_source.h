// The bytes of a video: a regular file, a byte range of one (a tar member), or memory. FFmpeg reads through
// here and opens nothing itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stop.h"

struct AVIOContext;

namespace native::video {

// A file descriptor that is closed with this object.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  // A second descriptor of the file that the caller has open as `fd`. Throws what fail_reading throws.
  static std::shared_ptr<const Descriptor> duplicate(int fd);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }

 private:
  int fd_;
};

// One of `data`, `file` and `path`, in this order.
struct Source {
  std::string path;
  std::shared_ptr<const Descriptor> file;            // its position is neither used nor moved
  int64_t offset = 0;                                // first byte of the range
  int64_t length = -1;                               // bytes in the range; -1: up to the end of the file
  std::shared_ptr<const std::vector<uint8_t>> data;  // bytes in memory

  // How messages name it.
  std::string name() const;
};

class ByteSource {
 public:
  // Throws what `stop` and fail_reading throw; ERR_FILE_READ also for a directory, FIFO, socket or device,
  // which is never waited for.
  ByteSource(const Source& source, const Stop& stop);
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  int64_t size() const { return size_; }

  // A fresh FFmpeg context at byte 0, to be released with close_context; it reads from this object.
  AVIOContext* open_context();
  static void close_context(AVIOContext* context);

  // Up to `count` bytes from `offset` on; fewer, and none, at the end and where reading fails.
  int read_at(int64_t offset, uint8_t* to, int count);

  // Reads check this, and fail once it is requested. The object must live as long as it is set.
  void set_stop(const Stop* stop);
  bool stopped() const { return stop_ != nullptr && stop_->requested(); }
  // Throws what fail_reading does when a read has failed since the stop was set. FFmpeg may have taken that
  // for the end of the file, or for damage.
  void check_reads() const;

 private:
  static int read_packet(void* opaque, uint8_t* buffer, int size);
  static int64_t seek(void* opaque, int64_t offset, int whence);

  Source source_;
  std::string name_;
  std::shared_ptr<const Descriptor> file_;
  int64_t size_ = 0;
  int64_t position_ = 0;
  int failure_ = 0;  // errno of a read
  const Stop* stop_ = nullptr;
};

}  // namespace native::video
