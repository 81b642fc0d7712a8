#include "plan.h"

#include <string.h>

#include <algorithm>

#include "../core/error.h"
#include "resize.h"

namespace native::data {
namespace {

// The smallest box around all crops: nothing outside it is resized.
Box bounds_of(const std::vector<Box>& crops) {
  int left = crops[0].x, top = crops[0].y, right = 0, bottom = 0;
  for (const Box& crop : crops) {
    left = std::min(left, crop.x);
    top = std::min(top, crop.y);
    right = std::max(right, crop.x + crop.width);
    bottom = std::max(bottom, crop.y + crop.height);
  }
  return {left, top, right - left, bottom - top};
}

void check_crops(const Plan& plan, const std::string& name, int width, int height) {
  for (const Box& crop : plan.crops) {
    const bool inside = crop.x >= 0 && crop.y >= 0 && crop.width > 0 && crop.height > 0 &&
                        crop.width <= width - crop.x && crop.height <= height - crop.y;
    CHECK(inside, "ERR_ARGUMENT", name, ": crop [", crop.x, ", ", crop.y, ", ", crop.width, ", ", crop.height,
          "] is not inside the picture of ", width, " x ", height);
  }
}

ImageView cut(const ImageView& from, const Box& box) {
  return {from.row(box.y) + box.x * 3, box.width, box.height, from.stride};
}

void copy(const ImageView& from, Image& to) {
  to.reshape(from.width, from.height);
  const size_t row = static_cast<size_t>(from.width) * 3;
  for (int y = 0; y < from.height; ++y)
    memcpy(to.bytes.data() + static_cast<size_t>(y) * row, from.row(y), row);
}

// Calls `finish(view, picture)` for every picture of the result; `view` is its number, crop-major.
template <class Finish>
void run(const Plan& plan, const FrameSource& source, const Finish& finish) {
  const auto [width, height] = plan.resize.value_or(std::array<int, 2>{source.width, source.height});
  check_crops(plan, source.name, width, height);
  const bool resized = width != source.width || height != source.height;
  const Box bounds = bounds_of(plan.crops);
  Resizer resize_whole, resize_crop;
  Image base, picture;
  source.visit(plan.frames, [&, width = width, height = height](size_t slot, const ImageView& frame) {
    if (resized) resize_whole.resize(frame, width, height, bounds, base);
    for (size_t c = 0; c < plan.crops.size(); ++c) {
      Box box = plan.crops[c];
      if (resized) box.x -= bounds.x, box.y -= bounds.y;
      const ImageView view = cut(resized ? base.view() : frame, box);
      if (box.width == plan.width && box.height == plan.height) {
        copy(view, picture);
      } else {
        resize_crop.resize(view, plan.width, plan.height, {0, 0, plan.width, plan.height}, picture);
      }
      if (plan.flip) flip_horizontal(picture);
      if (!plan.jitter.empty()) apply(plan.jitter[slot], picture.bytes.data(), plan.pixel_count());
      if (plan.gray) to_gray(picture.bytes.data(), plan.pixel_count());
      finish(c * plan.frames.size() + slot, picture);
    }
  });
}

}  // namespace

FrameSource frames_in_memory(const uint8_t* rgb, int count, int width, int height) {
  return {"frames in memory", width, height,
          [=](const std::vector<int32_t>& frames, const FrameSource::Use& use) {
            const size_t stride = static_cast<size_t>(width) * 3;
            for (size_t slot = 0; slot < frames.size(); ++slot) {
              const int32_t frame = frames[slot];
              CHECK(frame >= 0 && frame < count, "ERR_FRAME_RANGE", "frame ", frame,
                    " does not exist; there are ", count);
              const size_t offset = static_cast<size_t>(frame) * stride * static_cast<size_t>(height);
              use(slot, ImageView{rgb + offset, width, height, stride});
            }
          }};
}

void execute(const Plan& plan, const FrameSource& source, float* out) {
  const Normalizer normalize(plan.mean, plan.std);
  const size_t pixels = plan.pixel_count();
  run(plan, source, [&](size_t view, const Image& picture) {
    normalize(picture.bytes.data(), pixels, out + view * pixels * 3);
  });
}

void execute(const Plan& plan, const FrameSource& source, uint8_t* out) {
  run(plan, source, [&](size_t view, const Image& picture) {
    memcpy(out + view * picture.bytes.size(), picture.bytes.data(), picture.bytes.size());
  });
}

}  // namespace native::data
