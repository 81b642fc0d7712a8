#include "plan.h"

#include <string.h>

#include <algorithm>
#include <functional>

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

void check(const Plan& plan, const video::Reader& reader, int width, int height) {
  for (const Box& crop : plan.crops) {
    const bool inside = crop.x >= 0 && crop.y >= 0 && crop.width > 0 && crop.height > 0 &&
                        crop.width <= width - crop.x && crop.height <= height - crop.y;
    CHECK(inside, "ERR_ARGUMENT", reader.name(), ": crop [", crop.x, ", ", crop.y, ", ", crop.width, ", ",
          crop.height, "] is not inside the picture of ", width, " x ", height);
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

// Calls `finish(view, pixels)` for every picture of the result; `view` is its number, crop-major.
void run(const Plan& plan, video::Reader& reader, const video::Stop& stop,
         const std::function<void(size_t view, const Image& pixels)>& finish) {
  const video::Info& info = reader.info();
  const auto [width, height] = plan.resize.value_or(std::array<int, 2>{info.width, info.height});
  check(plan, reader, width, height);
  const bool resized = width != info.width || height != info.height;
  const Box bounds = bounds_of(plan.crops);
  const size_t pixels = static_cast<size_t>(plan.size) * static_cast<size_t>(plan.size);
  Resizer whole, crop_resizer;
  Image base, picture;
  reader.visit(plan.frames.data(), plan.frames.size(), stop, [&](size_t slot, const ImageView& decoded) {
    if (resized) whole.resize(decoded, width, height, bounds, base);
    for (size_t c = 0; c < plan.crops.size(); ++c) {
      Box box = plan.crops[c];
      if (resized) box.x -= bounds.x, box.y -= bounds.y;
      const ImageView view = cut(resized ? base.view() : decoded, box);
      if (box.width == plan.size && box.height == plan.size) {
        copy(view, picture);
      } else {
        crop_resizer.resize(view, plan.size, plan.size, {0, 0, plan.size, plan.size}, picture);
      }
      if (plan.flip) flip_horizontal(picture);
      if (!plan.jitter.empty()) apply(plan.jitter[slot], picture.bytes.data(), pixels);
      if (plan.gray) to_gray(picture.bytes.data(), pixels);
      finish(c * plan.frames.size() + slot, picture);
    }
  });
}

}  // namespace

void execute(const Plan& plan, video::Reader& reader, const video::Stop& stop, float* out) {
  const Normalizer normalize(plan.mean, plan.std);
  const size_t pixels = static_cast<size_t>(plan.size) * static_cast<size_t>(plan.size);
  run(plan, reader, stop, [&](size_t view, const Image& picture) {
    normalize(picture.bytes.data(), pixels, out + view * pixels * 3);
  });
}

void execute(const Plan& plan, video::Reader& reader, const video::Stop& stop, uint8_t* out) {
  run(plan, reader, stop, [&](size_t view, const Image& picture) {
    memcpy(out + view * picture.bytes.size(), picture.bytes.data(), picture.bytes.size());
  });
}

}  // namespace native::data
