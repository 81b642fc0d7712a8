#include "encoder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "demuxer.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

namespace native::video {
namespace {

constexpr int kBufferBytes = 1 << 16;

// A file that is there only once `commit` has been called.
class PendingFile {
 public:
  explicit PendingFile(const std::string& path) : path_(path) {
    static std::atomic<unsigned> counter{0};
    temporary_ = concat(path, ".", getpid(), "-", counter++, ".part");
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    CHECK(fd_ >= 0, "ERR_FILE_WRITE", path_, ": cannot be created (", strerror(errno), ")");
  }
  ~PendingFile() {
    if (fd_ >= 0) close(fd_);
    if (!committed_) unlink(temporary_.c_str());
  }
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  void commit() {
    const bool written = fsync(fd_) == 0 && rename(temporary_.c_str(), path_.c_str()) == 0;
    CHECK(written, "ERR_FILE_WRITE", path_, ": cannot be written (", strerror(errno), ")");
    committed_ = true;
  }

  // `Byte` is const from FFmpeg 7 on.
  template <class Byte>
  static int write_packet(void* opaque, Byte* data, int size) {
    const int fd = static_cast<PendingFile*>(opaque)->fd_;
    for (int done = 0; done < size;) {
      const ssize_t count = ::write(fd, data + done, static_cast<size_t>(size - done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return AVERROR(errno);
      done += static_cast<int>(count);
    }
    return size;
  }
  static int64_t seek(void* opaque, int64_t offset, int whence) {
    if (whence & AVSEEK_SIZE) return AVERROR(ENOSYS);
    const int64_t position = lseek(static_cast<PendingFile*>(opaque)->fd_, offset, whence & ~AVSEEK_FORCE);
    return position < 0 ? AVERROR(errno) : position;
  }

 private:
  std::string path_, temporary_;
  int fd_ = -1;
  bool committed_ = false;
};

void check_options(const std::string& path, const EncodeOptions& options) {
  CHECK(options.width > 0 && options.height > 0 && options.width % 2 == 0 && options.height % 2 == 0,
        "ERR_ARGUMENT", path, ": width and height must be positive and even, got ", options.width, " x ",
        options.height);
  CHECK(options.fps >= 0.01 && options.fps <= 1000, "ERR_ARGUMENT", path, ": fps must be in 0.01..1000, got ",
        options.fps);
  CHECK(options.codec == "h264" || options.codec == "mpeg4", "ERR_ARGUMENT", path,
        ": codec must be h264 or mpeg4, got ", options.codec);
  CHECK(options.gop >= 1 && options.gop <= 600 && options.b_frames >= 0 && options.b_frames <= 16 &&
            options.bitrate >= 0 && options.quality >= 1 && options.quality <= 31,
        "ERR_ARGUMENT", path,
        ": gop must be in 1..600, bFrames in 0..16, quality in 1..31 and bitrate not negative");
}

}  // namespace

// The file that is written, its encoder and what converts the colours.
class Encoder::File {
 public:
  File(const std::string& path, const EncodeOptions& options) : path_(path), options_(options), file_(path) {
    try {
      open();
    } catch (...) {
      release();
      throw;
    }
  }
  ~File() { release(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void add(const uint8_t* rgb, int64_t number) {
    const int row = options_.width * 3;
    av_image_copy_plane(picture_->data[0], picture_->linesize[0], rgb, row, row, options_.height);
    check(av_frame_make_writable(frame_), "frame buffer");
    sws_scale(scaler_, picture_->data, picture_->linesize, 0, options_.height, frame_->data,
              frame_->linesize);
    frame_->pts = number;
    frame_->quality = codec_->global_quality;  // what the MPEG-4 encoder goes by
    send(frame_);
  }

  std::string finish() {
    send(nullptr);
    check(av_write_trailer(format_), "end of file");
    file_.commit();
    return avcodec_get_name(codec_->codec_id);
  }

 private:
  void check(int result, const char* what) const {
    if (result >= 0) return;
    const bool io_failed = io_ != nullptr && io_->error < 0;
    fail(io_failed ? "ERR_FILE_WRITE" : "ERR_VIDEO_ENCODE", path_, ": ", what, ": ", error_text(result));
  }

  void open() {
    const AVCodec* encoder = options_.codec == "h264" ? avcodec_find_encoder_by_name("libx264") : nullptr;
    if (encoder == nullptr) encoder = avcodec_find_encoder_by_name("mpeg4");
    CHECK(encoder != nullptr, "ERR_VIDEO_ENCODE", path_,
          ": libavcodec has neither libx264 nor an MPEG-4 encoder");
    auto* buffer = static_cast<uint8_t*>(av_malloc(kBufferBytes));
    io_ = avio_alloc_context(buffer, kBufferBytes, 1, &file_, nullptr, PendingFile::write_packet,
                             PendingFile::seek);
    avformat_alloc_output_context2(&format_, nullptr, "mp4", nullptr);
    codec_ = avcodec_alloc_context3(encoder);
    packet_ = av_packet_alloc();
    picture_ = av_frame_alloc();
    frame_ = av_frame_alloc();
    scaler_ =
        sws_getContext(options_.width, options_.height, AV_PIX_FMT_RGB24, options_.width, options_.height,
                       AV_PIX_FMT_YUV420P, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT,
                       nullptr, nullptr, nullptr);
    CHECK(io_ && format_ && codec_ && packet_ && picture_ && frame_ && scaler_, "ERR_OUT_OF_MEMORY", path_,
          ": no memory for an encoder");
    format_->pb = io_;
    format_->flags |= AVFMT_FLAG_BITEXACT | AVFMT_FLAG_CUSTOM_IO;
    configure(encoder);
    check(avcodec_open2(codec_, encoder, nullptr), "opening the encoder");
    stream_ = avformat_new_stream(format_, nullptr);
    CHECK(stream_ != nullptr, "ERR_OUT_OF_MEMORY", path_, ": no memory for a stream");
    check(avcodec_parameters_from_context(stream_->codecpar, codec_), "stream parameters");
    stream_->time_base = codec_->time_base;
    stream_->avg_frame_rate = codec_->framerate;
    check(avformat_write_header(format_, nullptr), "start of file");
    allocate(picture_, AV_PIX_FMT_RGB24);
    allocate(frame_, AV_PIX_FMT_YUV420P);
  }

  void allocate(AVFrame* frame, AVPixelFormat format) const {
    frame->format = format;
    frame->width = options_.width;
    frame->height = options_.height;
    check(av_frame_get_buffer(frame, 0), "frame buffer");
  }

  void configure(const AVCodec* encoder) {
    codec_->width = options_.width;
    codec_->height = options_.height;
    codec_->pix_fmt = AV_PIX_FMT_YUV420P;
    codec_->framerate = av_d2q(options_.fps, 1001000);
    codec_->time_base = av_inv_q(codec_->framerate);
    codec_->gop_size = options_.gop;
    codec_->max_b_frames = options_.b_frames;
    codec_->thread_count = 1;
    codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    codec_->bit_rate = options_.bitrate;
    // Key frames at equal distances only: for libx264 0 means that no change of the scene makes one.
    const bool is_h264 = encoder->id == AV_CODEC_ID_H264;
    av_opt_set_int(codec_->priv_data, "sc_threshold", is_h264 ? 0 : INT_MAX, 0);
    if (is_h264) {
      // libx264's macroblock tree takes rows of macroblocks in eights on AVX-512 and, unless the width is a
      // multiple of 128, counts in what lies behind the row (mbtree_propagate_list): memory left by others.
      av_opt_set_int(codec_->priv_data, "mbtree", 0, 0);
      if (options_.bitrate == 0) av_opt_set_double(codec_->priv_data, "crf", 16 + options_.quality, 0);
    } else if (options_.bitrate == 0) {
      codec_->flags |= AV_CODEC_FLAG_QSCALE;
      codec_->global_quality = FF_QP2LAMBDA * options_.quality;
    }
  }

  void send(const AVFrame* frame) {
    check(avcodec_send_frame(codec_, frame), "encoding");
    for (;;) {
      const int result = avcodec_receive_packet(codec_, packet_);
      if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
      check(result, "encoding");
      packet_->stream_index = stream_->index;
      packet_->duration = 1;
      av_packet_rescale_ts(packet_, codec_->time_base, stream_->time_base);
      check(av_interleaved_write_frame(format_, packet_), "writing");
    }
  }

  void release() {
    sws_freeContext(scaler_);
    av_frame_free(&picture_);
    av_frame_free(&frame_);
    av_packet_free(&packet_);
    avcodec_free_context(&codec_);
    avformat_free_context(format_);
    ByteSource::close_context(io_);
  }

  std::string path_;
  EncodeOptions options_;
  PendingFile file_;
  AVIOContext* io_ = nullptr;
  AVFormatContext* format_ = nullptr;
  AVCodecContext* codec_ = nullptr;
  AVStream* stream_ = nullptr;
  AVPacket* packet_ = nullptr;
  AVFrame* picture_ = nullptr;  // RGB with padded rows: the scaler reads some bytes past their ends
  AVFrame* frame_ = nullptr;    // YUV
  SwsContext* scaler_ = nullptr;
};

Encoder::Encoder(const std::string& path, const EncodeOptions& options) : path_(path) {
  check_options(path, options);
  picture_bytes_ = static_cast<size_t>(options.width) * static_cast<size_t>(options.height) * 3;
  file_ = std::make_unique<File>(path, options);
}

Encoder::~Encoder() = default;

void Encoder::write(const uint8_t* frames, int64_t count, const Stop& stop) {
  for (int64_t i = 0; i < count; ++i) {
    stop.check(path_);
    file_->add(frames + static_cast<size_t>(i) * picture_bytes_, frame_count_++);
  }
}

std::string Encoder::finish() {
  CHECK(frame_count_ > 0, "ERR_ARGUMENT", path_, ": there are no frames to write");
  return file_->finish();
}

}  // namespace native::video
