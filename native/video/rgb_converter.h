// Decoded pictures to RGB bytes, scaled in the same pass and turned upright: equal to what
// `ffmpeg -vf scale=W:H,format=rgb24` gives on x86-64. (Elsewhere scaled pictures, and those that are not
// 4:2:0 or 4:2:2 of 8 bits, are as libswscale has them there, which is a few levels off.)
#pragma once

#include <cstdint>
#include <vector>

#include "../core/image.h"

extern "C" {
#include <libavutil/frame.h>
}

namespace native::video {

class RgbConverter {
 public:
  // `width` and `height` are those of the result before it is turned; `rotation` is 0, 90, 180 or 270 degrees
  // clockwise and `flip` mirrors top and bottom first.
  RgbConverter(int width, int height, int rotation, bool flip)
      : width_(width), height_(height), rotation_(rotation), flip_(flip) {}

  // The picture as RGB, valid until the next call. A frame of another size is scaled (bicubic). Throws
  // ERR_VIDEO_DECODE for a pixel format that cannot be converted.
  ImageView convert(const AVFrame& frame);

  // The same, written to `to` as packed rows, without a copy where libswscale can write there itself. Nothing
  // outside them is touched.
  void convert(const AVFrame& frame, uint8_t* to);

 private:
  bool turns() const { return rotation_ != 0 || flip_; }
  bool scales(const AVFrame& frame) const;
  bool can_pack(const AVFrame& frame) const;
  void scale(const AVFrame& frame, uint8_t* to, size_t stride) const;
  ImageView scale_padded(const AVFrame& frame);

  int width_, height_, rotation_;
  bool flip_;
  std::vector<uint8_t> upright_, stored_;
};

}  // namespace native::video
