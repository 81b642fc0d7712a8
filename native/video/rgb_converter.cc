#include "rgb_converter.h"

#include <string.h>

#include "../core/error.h"
#include "scaler.h"
#include "yuv_to_rgb.h"

namespace native::video {
namespace {

// Rows are padded to whole blocks of pixels: the vector code of libswscale converts 8 at a time and leaves
// out what does not fit in a row.
constexpr int kBlock = 32;
size_t padded_stride(int width) { return static_cast<size_t>((width + kBlock - 1) / kBlock * kBlock) * 3; }

// The number in an enum of FFmpeg's, which may come from the file as it is and have no name: C++ must not
// read it as one.
template <class Enum>
int number_of(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number;
  memcpy(&number, &value, sizeof number);
  return number;
}

// Turns `from` (w x h) clockwise by `rotation` degrees, after mirroring top and bottom when `flip`, into
// packed rows.
void turn(const ImageView& from, int rotation, bool flip, uint8_t* to) {
  const int w = from.width, h = from.height;
  const int out_w = rotation % 180 == 0 ? w : h, out_h = rotation % 180 == 0 ? h : w;
  for (int y = 0; y < out_h; ++y) {
    for (int x = 0; x < out_w; ++x, to += 3) {
      int sx = x, sy = y;
      if (rotation == 90) sx = y, sy = h - 1 - x;
      if (rotation == 180) sx = w - 1 - x, sy = h - 1 - y;
      if (rotation == 270) sx = w - 1 - y, sy = x;
      if (flip) sy = h - 1 - sy;
      memcpy(to, from.row(sy) + sx * 3, 3);
    }
  }
}

}  // namespace

bool RgbConverter::scales(const AVFrame& frame) const {
  return frame.width != width_ || frame.height != height_;
}

// True when packed rows get the bytes of padded ones, and nothing is written behind the last: where rows are
// whole blocks, and where the picture is scaled, since libswscale writes the last rows of that pixel by
// pixel, and what an earlier row leaves in the next is written over.
bool RgbConverter::can_pack(const AVFrame& frame) const {
  return width_ % kBlock == 0 || scales(frame) || yuv_to_rgb_applies(frame);
}

void RgbConverter::scale(const AVFrame& frame, uint8_t* to, size_t stride) const {
  if (!scales(frame) && yuv_to_rgb_applies(frame)) return yuv_to_rgb(frame, to, stride);
  SwsContext* const scaler = scaler_for({frame.width, frame.height, frame.format, number_of(frame.colorspace),
                                         number_of(frame.color_range), width_, height_});
  uint8_t* const target[4] = {to, nullptr, nullptr, nullptr};
  const int strides[4] = {static_cast<int>(stride), 0, 0, 0};
  const int rows = sws_scale(scaler, frame.data, frame.linesize, 0, frame.height, target, strides);
  CHECK(rows == height_, "ERR_VIDEO_DECODE", "the colour conversion of a picture failed");
}

ImageView RgbConverter::scale_padded(const AVFrame& frame) {
  const size_t stride = padded_stride(width_);
  stored_.resize(stride * static_cast<size_t>(height_) + kBlock);
  scale(frame, stored_.data(), stride);
  return {stored_.data(), width_, height_, stride};
}

ImageView RgbConverter::convert(const AVFrame& frame) {
  const ImageView picture = scale_padded(frame);
  if (!turns()) return picture;
  upright_.resize(static_cast<size_t>(width_) * height_ * 3);
  turn(picture, rotation_, flip_, upright_.data());
  const bool sideways = rotation_ % 180 != 0;
  const int w = sideways ? height_ : width_, h = sideways ? width_ : height_;
  return {upright_.data(), w, h, static_cast<size_t>(w) * 3};
}

void RgbConverter::convert(const AVFrame& frame, uint8_t* to) {
  const size_t row = static_cast<size_t>(width_) * 3;
  if (!turns() && can_pack(frame)) return scale(frame, to, row);
  const ImageView picture = scale_padded(frame);
  if (turns()) return turn(picture, rotation_, flip_, to);
  for (int y = 0; y < height_; ++y) memcpy(to + static_cast<size_t>(y) * row, picture.row(y), row);
}

}  // namespace native::video
