// One training or test sample of a video: what is to be done, every random draw made, and the doing of it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pixels.h"

namespace native::data {

struct Plan {
  std::vector<int32_t> frames;               // T frame numbers
  std::optional<std::array<int, 2>> resize;  // width, height of the whole picture
  std::vector<Box> crops;                    // in the resized picture, each for all frames
  int width = 0, height = 0;                 // W and H of the result
  bool flip = false;                         // left and right
  std::vector<Jitter> jitter;                // one per frame, or empty
  bool gray = false;
  std::array<double, 3> mean{}, std{};

  size_t pixel_count() const { return static_cast<size_t>(width) * static_cast<size_t>(height); }
  // Elements of the result: crops * T * 3 * H * W.
  size_t element_count() const { return crops.size() * frames.size() * 3 * pixel_count(); }
};

// Where frames come from.
struct FrameSource {
  std::string name;   // for messages
  int width, height;  // pixels
  // Calls `use` with each picture of `frames` and its place there, in any order; a picture is valid during
  // the call.
  using Use = std::function<void(size_t slot, const ImageView& picture)>;
  std::function<void(const std::vector<int32_t>& frames, const Use& use)> visit;
};

// `count` pictures in memory, [count, height, width, 3]. Throws ERR_FRAME_RANGE for a number outside them.
FrameSource frames_in_memory(const uint8_t* rgb, int count, int width, int height);

// Order of work: decode, resize, crop, resize to W x H, flip, jitter, gray, normalise. Writes float32
// [crops * T, 3, H, W]. Throws ERR_ARGUMENT when a crop leaves the picture, and what the source throws.
void execute(const Plan& plan, const FrameSource& source, float* out);
// The same without the last step: bytes [crops * T, H, W, 3].
void execute(const Plan& plan, const FrameSource& source, uint8_t* out);

}  // namespace native::data
