// Decoded pictures to RGB bytes, scaled in the same pass and turned upright: equal to what
// `ffmpeg -vf scale=W:H,format=rgb24` gives.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/image.h"

extern "C" {
#include <libavutil/frame.h>
#include <libswscale/swscale.h>
}

namespace native::video {

class RgbConverter {
 public:
  // `width` and `height` are those of the result before it is turned; `rotation` is 0, 90, 180 or 270 degrees
  // clockwise and `flip` mirrors top and bottom first.
  RgbConverter(int width, int height, int rotation, bool flip);
  ~RgbConverter();
  RgbConverter(const RgbConverter&) = delete;
  RgbConverter& operator=(const RgbConverter&) = delete;

  // The picture as RGB, valid until the next call. A frame of another size is scaled (bicubic). Throws
  // ERR_VIDEO_DECODE for a pixel format that cannot be converted.
  ImageView convert(const AVFrame& frame);

 private:
  void prepare(const AVFrame& frame);

  int width_, height_, rotation_;
  bool flip_;
  SwsContext* scaler_ = nullptr;
  int source_width_ = 0, source_height_ = 0, source_format_ = -1, source_space_ = -1, source_range_ = -1;
  std::vector<uint8_t> upright_, stored_;
};

}  // namespace native::video
