#include "byte_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "read_failure.h"
#include "watch.h"

extern "C" {
#include <libavformat/avio.h>
#include <libavutil/error.h>
#include <libavutil/mem.h>
}

namespace native::video {
namespace {

constexpr int kBufferBytes = 1 << 16;

std::shared_ptr<const Descriptor> open_path(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer. It means nothing for regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail_reading(path, errno);
  return std::make_shared<const Descriptor>(fd);
}

int64_t size_of_regular(const Descriptor& file, const std::string& name) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail_reading(name, errno);
  CHECK(S_ISREG(status.st_mode), "ERR_FILE_READ", name,
        S_ISDIR(status.st_mode) ? ": is a directory" : ": is not a regular file", "; give a video file");
  return static_cast<int64_t>(status.st_size);
}

}  // namespace

std::shared_ptr<const Descriptor> Descriptor::duplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) fail_reading(concat("file descriptor ", fd), errno);
  return std::make_shared<const Descriptor>(copy);
}

Descriptor::~Descriptor() { close(fd_); }

std::string Source::name() const {
  if (data) return "video in memory";
  const std::string whole = file ? "video in an open file" : path;
  if (offset == 0 && length < 0) return whole;
  return concat(whole, " (bytes from ", offset, length < 0 ? std::string() : concat(", ", length, " long"),
                ")");
}

ByteSource::ByteSource(const Source& source, const Stop& stop) : source_(source), name_(source.name()) {
  if (source_.data) {
    size_ = static_cast<int64_t>(source_.data->size());
    return;
  }
  CHECK(source_.offset >= 0, "ERR_ARGUMENT", source_.name(), ": offset must not be negative, got ",
        source_.offset);
  Watch::Blocking blocking(name_, stop.deadline());
  stop.check(name_);
  file_ = source_.file ? source_.file : open_path(source_.path);
  const int64_t file_size = size_of_regular(*file_, name_);
  if (!blocking.end()) stop.check(name_);
  const int64_t available = file_size - source_.offset;
  CHECK(available >= std::max<int64_t>(source_.length, 0), "ERR_FILE_READ", source_.name(),
        ": the range ends after the file, which has ", file_size, " bytes");
  size_ = source_.length < 0 ? available : source_.length;
}

AVIOContext* ByteSource::open_context() {
  auto* buffer = static_cast<uint8_t*>(av_malloc(kBufferBytes));
  CHECK(buffer != nullptr, "ERR_OUT_OF_MEMORY", source_.name(), ": no memory for a read buffer");
  AVIOContext* context = avio_alloc_context(buffer, kBufferBytes, 0, this, read_packet, nullptr, seek);
  if (context == nullptr) {
    av_free(buffer);
    fail("ERR_OUT_OF_MEMORY", source_.name(), ": no memory for a read context");
  }
  position_ = 0;
  return context;
}

void ByteSource::close_context(AVIOContext* context) {
  if (context == nullptr) return;
  av_freep(&context->buffer);
  avio_context_free(&context);
}

void ByteSource::set_stop(const Stop* stop) {
  stop_ = stop;
  if (stop != nullptr) failure_ = 0;
}

void ByteSource::check_reads() const {
  if (failure_ != 0) fail_reading(name_, failure_);
}

int ByteSource::read_packet(void* opaque, uint8_t* buffer, int size) {
  auto* self = static_cast<ByteSource*>(opaque);
  if (self->stopped()) return AVERROR_EXIT;
  const int64_t count = std::min<int64_t>(size, self->size_ - self->position_);
  if (count <= 0) return AVERROR_EOF;
  if (self->source_.data) {
    memcpy(buffer, self->source_.data->data() + self->position_, static_cast<size_t>(count));
    self->position_ += count;
    return static_cast<int>(count);
  }
  // The stop is looked at again behind this, so that whoever requested it before has seen whether we may
  // block.
  Watch::Blocking blocking(self->name_, self->stop_->deadline());
  for (;;) {
    if (self->stopped()) return AVERROR_EXIT;
    const ssize_t got =
        pread(self->file_->get(), buffer, static_cast<size_t>(count), self->source_.offset + self->position_);
    const int error = errno;
    if (got < 0 && error == EINTR) continue;
    if (!blocking.end()) return AVERROR_EXIT;
    if (got < 0) {
      self->failure_ = error;
      return AVERROR(error);
    }
    if (got == 0) return AVERROR_EOF;  // the file shrank
    self->position_ += got;
    return static_cast<int>(got);
  }
}

int ByteSource::read_at(int64_t offset, uint8_t* to, int count) {
  position_ = offset;
  int done = 0;
  while (done < count) {
    const int got = read_packet(this, to + done, count - done);
    if (got <= 0) break;
    done += got;
  }
  return done;
}

int64_t ByteSource::seek(void* opaque, int64_t offset, int whence) {
  auto* self = static_cast<ByteSource*>(opaque);
  if (whence == AVSEEK_SIZE) return self->size_;
  if (whence != SEEK_SET || offset < 0) return AVERROR(EINVAL);  // FFmpeg asks for nothing else
  self->position_ = offset;
  return offset;
}

}  // namespace native::video
