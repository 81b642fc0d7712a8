#include "rgb_converter.h"

#include <string.h>

#include "../core/error.h"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

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

RgbConverter::RgbConverter(int width, int height, int rotation, bool flip)
    : width_(width), height_(height), rotation_(rotation), flip_(flip) {}

RgbConverter::~RgbConverter() { sws_freeContext(scaler_); }

void RgbConverter::prepare(const AVFrame& frame) {
  const int space = number_of(frame.colorspace), range = number_of(frame.color_range);
  if (scaler_ != nullptr && frame.width == source_width_ && frame.height == source_height_ &&
      frame.format == source_format_ && space == source_space_ && range == source_range_) {
    return;
  }
  sws_freeContext(scaler_);
  scaler_ = sws_alloc_context();
  CHECK(scaler_ != nullptr, "ERR_OUT_OF_MEMORY", "no memory for a colour converter");
  // The settings of FFmpeg's scale filter: bicubic, chroma sited between two rows for planar 4:2:0.
  av_opt_set_int(scaler_, "sws_flags", SWS_BICUBIC, 0);
  av_opt_set_int(scaler_, "srcw", frame.width, 0);
  av_opt_set_int(scaler_, "srch", frame.height, 0);
  av_opt_set_int(scaler_, "src_format", frame.format, 0);
  av_opt_set_int(scaler_, "dstw", width_, 0);
  av_opt_set_int(scaler_, "dsth", height_, 0);
  av_opt_set_int(scaler_, "dst_format", AV_PIX_FMT_RGB24, 0);
  if (frame.format == AV_PIX_FMT_YUV420P) av_opt_set_int(scaler_, "src_v_chr_pos", 128, 0);
  if (sws_init_context(scaler_, nullptr, nullptr) < 0) {
    sws_freeContext(scaler_);
    scaler_ = nullptr;
    const char* format = av_get_pix_fmt_name(static_cast<AVPixelFormat>(frame.format));
    fail("ERR_VIDEO_DECODE", "pixel format ", format ? format : "unknown", " cannot be converted to RGB");
  }
  int *unused_source = nullptr, *unused_target = nullptr;
  int source_range = 0, target_range = 0, brightness = 0, contrast = 0, saturation = 0;
  sws_getColorspaceDetails(scaler_, &unused_source, &source_range, &unused_target, &target_range, &brightness,
                           &contrast, &saturation);
  if (range != AVCOL_RANGE_UNSPECIFIED) source_range = range == AVCOL_RANGE_JPEG;
  const int* coefficients = sws_getCoefficients(space);  // BT.601 for what is untagged
  sws_setColorspaceDetails(scaler_, coefficients, source_range, coefficients, target_range, brightness,
                           contrast, saturation);
  source_width_ = frame.width;
  source_height_ = frame.height;
  source_format_ = frame.format;
  source_space_ = space;
  source_range_ = range;
}

ImageView RgbConverter::convert(const AVFrame& frame) {
  prepare(frame);
  const size_t stride = padded_stride(width_);
  stored_.resize(stride * static_cast<size_t>(height_) + kBlock);
  uint8_t* const target[4] = {stored_.data(), nullptr, nullptr, nullptr};
  const int strides[4] = {static_cast<int>(stride), 0, 0, 0};
  const int rows = sws_scale(scaler_, frame.data, frame.linesize, 0, frame.height, target, strides);
  CHECK(rows == height_, "ERR_VIDEO_DECODE", "the colour conversion of a picture failed");
  const ImageView picture{stored_.data(), width_, height_, stride};
  if (rotation_ == 0 && !flip_) return picture;
  upright_.resize(static_cast<size_t>(width_) * height_ * 3);
  turn(picture, rotation_, flip_, upright_.data());
  const bool sideways = rotation_ % 180 != 0;
  const int w = sideways ? height_ : width_, h = sideways ? width_ : height_;
  return {upright_.data(), w, h, static_cast<size_t>(w) * 3};
}

}  // namespace native::video
