// One training or test sample of a video: what is to be done, every random draw made, and the doing of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "../video/reader.h"
#include "pixels.h"

namespace native::data {

struct Plan {
  std::vector<int32_t> frames;               // T frame numbers
  std::optional<std::array<int, 2>> resize;  // width, height of the whole picture
  std::vector<Box> crops;                    // in the resized picture, each for all frames
  int size = 0;                              // S, side of the result
  bool flip = false;                         // left and right
  std::vector<Jitter> jitter;                // one per frame, or empty
  bool gray = false;
  std::array<double, 3> mean{}, std{};

  // Elements that the result has: crops * T * 3 * S * S.
  size_t element_count() const {
    return crops.size() * frames.size() * 3 * static_cast<size_t>(size) * static_cast<size_t>(size);
  }
};

// Order of work: decode, resize, crop, resize to S, flip, jitter, gray, normalise. Writes float32 [crops * T,
// 3, S, S]. Throws ERR_ARGUMENT when a crop leaves the picture, and what Reader::visit throws.
void execute(const Plan& plan, video::Reader& reader, const video::Stop& stop, float* out);
// The same without the last step: bytes [crops * T, S, S, 3].
void execute(const Plan& plan, video::Reader& reader, const video::Stop& stop, uint8_t* out);

}  // namespace native::data
