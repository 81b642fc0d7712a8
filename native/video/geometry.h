// How decoded pictures are turned and scaled for showing.
#pragma once

#include "demuxer.h"

namespace native::video {

// As FFmpeg's program applies it: mirror top and bottom when `flip`, then turn clockwise.
struct Orientation {
  int rotation = 0;  // 0, 90, 180 or 270 degrees
  bool flip = false;

  bool sideways() const { return rotation % 180 != 0; }
};

// From the display matrix of the stream.
Orientation orientation_of(const AVStream* stream);

struct Size {
  int width, height;  // pixels

  Size turned(bool sideways) const { return sideways ? Size{height, width} : *this; }
};

// The size that `options` asks for, of pictures that are `upright` pixels large. A side in proportion is
// rounded half up. Throws ERR_ARGUMENT when the short side is given together with another one, and
// ERR_VIDEO_LIMIT above options.max_pixels.
Size output_size(const Size& upright, const Options& options, const std::string& name);

}  // namespace native::video
