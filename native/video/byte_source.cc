#include "byte_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

extern "C" {
#include <libavformat/avio.h>
#include <libavutil/error.h>
#include <libavutil/mem.h>
}

namespace native::video {
namespace {

constexpr int kBufferBytes = 1 << 16;

// An open descriptor of a regular file and its size.
std::pair<int, int64_t> open_regular(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer. It means nothing for regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int error = errno;
    const bool missing = error == ENOENT || error == ENOTDIR;
    fail(missing ? "ERR_FILE_NOT_FOUND" : "ERR_FILE_READ", path, ": ", strerror(error));
  }
  struct stat status {};
  const bool known = fstat(fd, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    close(fd);
    fail("ERR_FILE_READ", path, S_ISDIR(status.st_mode) ? ": is a directory" : ": is not a regular file",
         "; give the path of a video file");
  }
  return {fd, static_cast<int64_t>(status.st_size)};
}

}  // namespace

std::string Source::name() const {
  if (data) return "video in memory";
  if (offset == 0 && length < 0) return path;
  return concat(path, " (bytes from ", offset, length < 0 ? std::string() : concat(", ", length, " long"),
                ")");
}

ByteSource::ByteSource(const Source& source) : source_(source) {
  if (source_.data) {
    size_ = static_cast<int64_t>(source_.data->size());
    return;
  }
  CHECK(source_.offset >= 0, "ERR_ARGUMENT", source_.path, ": offset must not be negative, got ",
        source_.offset);
  int64_t file_size = 0;
  std::tie(fd_, file_size) = open_regular(source_.path);
  const int64_t available = file_size - source_.offset;
  if (available < std::max<int64_t>(source_.length, 0)) {
    close(fd_);
    fail("ERR_FILE_READ", source_.name(), ": the range ends after the file, which has ", file_size, " bytes");
  }
  size_ = source_.length < 0 ? available : source_.length;
}

ByteSource::~ByteSource() {
  if (fd_ >= 0) close(fd_);
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
  for (;;) {
    const ssize_t got =
        pread(self->fd_, buffer, static_cast<size_t>(count), self->source_.offset + self->position_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return AVERROR(errno);
    if (got == 0) return AVERROR_EOF;  // the file shrank
    self->position_ += got;
    return static_cast<int>(got);
  }
}

int64_t ByteSource::seek(void* opaque, int64_t offset, int whence) {
  auto* self = static_cast<ByteSource*>(opaque);
  whence &= ~AVSEEK_FORCE;
  if (whence == AVSEEK_SIZE) return self->size_;
  if (whence == SEEK_CUR) offset += self->position_;
  if (whence == SEEK_END) offset += self->size_;
  if (offset < 0) return AVERROR(EINVAL);
  self->position_ = offset;
  return offset;
}

}  // namespace native::video
