// 8-bit planar 4:2:0 and 4:2:2 pictures to RGB, by the arithmetic of libswscale's vector code on x86-64 to
// the last bit. What libswscale has for other processors rounds otherwise, and a video is to give the same
// pixels everywhere.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
#include <libavutil/frame.h>
}

namespace native::video {

// True for pictures that libswscale converts without scaling, where it is not the one to ask: 4:2:0
// and 4:2:2 with an even number of rows. On x86-64 only with NATIVE_YUV_TO_RGB=own in the environment, which
// tests set.
bool yuv_to_rgb_applies(const AVFrame& frame);

// The picture, where yuv_to_rgb_applies, to rows of RGB bytes that begin `stride` bytes apart.
void yuv_to_rgb(const AVFrame& frame, uint8_t* to, size_t stride);

}  // namespace native::video
