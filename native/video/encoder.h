// Writes MP4 files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "stop.h"

namespace native::video {

struct EncodeOptions {
  int width = 0, height = 0;  // pixels, even
  double fps = 25;
  std::string codec = "h264";  // or "mpeg4"
  int gop = 12;                // distance of key frames
  int b_frames = 0;            // between two reference frames
  int64_t bitrate = 0;         // bits per second; 0: constant quality
  int quality = 4;             // 1 (best) .. 31; for H.264 the rate factor is 16 + quality
};

// Writes RGB frames as YUV 4:2:0 (BT.601) to a file that appears complete or not at all, a few frames in
// memory at a time. The same frames give the same bytes, however they are divided among calls.
class Encoder {
 public:
  // Throws ERR_ARGUMENT, ERR_FILE_WRITE, ERR_VIDEO_ENCODE.
  Encoder(const std::string& path, const EncodeOptions& options);
  ~Encoder();  // nothing is left of a file that is not finished
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Appends RGB frames [count, height, width, 3]. Throws ERR_FILE_WRITE, ERR_VIDEO_ENCODE, and what `stop`
  // throws; the file cannot be finished after that.
  void write(const uint8_t* frames, int64_t count, const Stop& stop);

  // Completes the file. Returns the codec written: "mpeg4" also when "h264" was asked for and libavcodec has
  // no libx264. Throws ERR_ARGUMENT when there are no frames, ERR_FILE_WRITE, ERR_VIDEO_ENCODE.
  std::string finish();

  int64_t frame_count() const { return frame_count_; }
  const std::string& path() const { return path_; }
  size_t picture_bytes() const { return picture_bytes_; }

 private:
  class File;
  std::string path_;
  size_t picture_bytes_;
  int64_t frame_count_ = 0;
  std::unique_ptr<File> file_;
};

}  // namespace native::video
