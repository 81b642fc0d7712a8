// Frames as a decoder left them to the input of a network: resized, cropped, mirrored, with changed colours,
// normalised, as planes. On the CPU the decode addon does the same while it decodes; here the bytes are on
// the device.
#pragma once

#include <array>
#include <memory>

#include "core/kernel.h"
#include "core/pixel_math.h"

namespace native {

struct PixelsArgs {
  const uint8_t* frames;
  std::shared_ptr<const std::vector<FrameEdit>> edits;  // one per picture of the result
  void* y;                                              // [edits, 3, height, width]
  int width, height;
  float mean[3];       // per channel, on the scale 0 .. 255
  float deviation[3];  // standard deviation
  DType dtype;         // of y: float32, bfloat16, or float16 where the device computes it
};

DECLARE_KERNEL(pixels, PixelsArgs);

// What one FrameEdit takes in the list of numbers that `pixels` is given: its members in order, with the
// operations as one number (digits in base 5, the first operation in the lowest place, each plus 1).
inline constexpr int64_t kEditNumbers = 16;

// frames: uint8, the bytes of all frames, each [height, width, 3] where its edit says. edits: kEditNumbers
// numbers per picture. mean, std: per channel. Returns [pictures, 3, height, width] of dtype. Throws
// ERR_ARGUMENT when an edit reaches outside the frames or a crop outside its picture.
Tensor pixels(const Tensor& frames, const std::vector<double>& edits, int64_t width, int64_t height,
              const std::vector<double>& mean, const std::vector<double>& std, DType dtype);

}  // namespace native
