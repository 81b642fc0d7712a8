// Containers and codecs that are opened: those this package knows to hold their own data, or what the
// environment leaves of them. Where a flaw in one of FFmpeg's decoders or demuxers becomes known, it can so
// be switched off until there is a newer FFmpeg.
#pragma once

#include <optional>
#include <string>

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace native::video {

struct AllowList {
  std::string names;                       // of FFmpeg's demuxers or decoders, with commas between them
  std::optional<std::string> restriction;  // the environment's list
};

// NATIVE_VIDEO_FORMATS restricts them, by names such as mp4 and matroska.
const AllowList& allowed_formats();

// NATIVE_VIDEO_CODECS restricts them, by names of codecs such as h264 and av1, whatever their decoders are
// called.
const AllowList& allowed_codecs();

}  // namespace native::video
