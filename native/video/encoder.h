// Writes MP4 files.
#pragma once

#include <cstdint>
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

// Encodes `count` RGB frames [count, height, width, 3] to YUV 4:2:0 (BT.601) and writes them to `path`, which
// appears complete or not at all. The same input gives the same bytes. Returns the codec written: "mpeg4"
// also when "h264" was asked for and libavcodec has no libx264. Throws ERR_ARGUMENT, ERR_FILE_WRITE,
// ERR_VIDEO_ENCODE, and what `stop` throws.
std::string encode(const std::string& path, const EncodeOptions& options, const uint8_t* frames,
                   int64_t count, const Stop& stop);

}  // namespace native::video
