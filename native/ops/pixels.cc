#include "ops/pixels.h"

#include <cmath>

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(pixels, PixelsArgs);

namespace {

// Large enough for any picture, small enough that products of two sizes fit.
constexpr int64_t kMaxSide = 1 << 15;

FrameEdit edit_of(const double* numbers, int64_t picture, int64_t bytes, int width, int height) {
  const auto whole = [&](int place, double low, double high) {
    const double value = numbers[place];
    CHECK(std::trunc(value) == value && value >= low && value <= high, "ERR_ARGUMENT", "pixels: number ",
          place, " of edit ", picture, " must be an integer in ", low, " .. ", high, ", got ", value);
    return value;
  };
  const auto side = [&](int place) { return static_cast<int32_t>(whole(place, 1, kMaxSide)); };
  const auto corner = [&](int place) { return static_cast<int32_t>(whole(place, 0, kMaxSide)); };
  const auto factor = [&](int place) {
    CHECK(std::isfinite(numbers[place]), "ERR_ARGUMENT", "pixels: number ", place, " of edit ", picture,
          " must be finite");
    return static_cast<float>(numbers[place]);
  };
  FrameEdit e{};
  e.offset = static_cast<int64_t>(whole(0, 0, static_cast<double>(bytes)));
  e.width = side(1), e.height = side(2);
  e.resized_width = side(3), e.resized_height = side(4);
  e.x = corner(5), e.y = corner(6);
  e.crop_width = side(7), e.crop_height = side(8);
  CHECK(e.offset + int64_t{3} * e.width * e.height <= bytes, "ERR_ARGUMENT", "pixels: the frame of edit ",
        picture, " (", e.width, " x ", e.height, " at byte ", e.offset, ") ends after the ", bytes,
        " bytes of frames");
  CHECK(e.x + e.crop_width <= e.resized_width && e.y + e.crop_height <= e.resized_height, "ERR_ARGUMENT",
        "pixels: crop [", e.x, ", ", e.y, ", ", e.crop_width, ", ", e.crop_height, "] of edit ", picture,
        " is not inside the picture of ", e.resized_width, " x ", e.resized_height);
  e.flip = whole(9, 0, 1) != 0, e.gray = whole(10, 0, 1) != 0;
  // The operations as digits in base 5, the first in the lowest place, each plus 1.
  int operations = static_cast<int>(whole(11, 0, 624));
  for (int8_t& operation : e.operations) {
    operation = static_cast<int8_t>(operations % 5 - 1);
    operations /= 5;
  }
  e.brightness = factor(12), e.contrast = factor(13), e.saturation = factor(14);
  e.hue_shift = static_cast<int32_t>(whole(15, -255, 255));
  e.whole_scale[0] = axis_scale(e.width, e.resized_width);
  e.whole_scale[1] = axis_scale(e.height, e.resized_height);
  e.crop_scale[0] = axis_scale(e.crop_width, width);
  e.crop_scale[1] = axis_scale(e.crop_height, height);
  return e;
}

}  // namespace

Tensor pixels(const Tensor& frames, const std::vector<double>& edits, int64_t width, int64_t height,
              const std::vector<double>& mean, const std::vector<double>& std, DType dtype) {
  CHECK(frames.dtype() == DType::uint8, "ERR_DTYPE", "pixels: frames must be uint8, got ", frames.describe());
  check_float("pixels", "the result", dtype, frames.device());
  CHECK(width >= 1 && width <= kMaxSide && height >= 1 && height <= kMaxSide, "ERR_ARGUMENT",
        "pixels: the result must be 1 .. ", kMaxSide, " pixels wide and high, got ", width, " x ", height);
  CHECK(mean.size() == 3 && std.size() == 3, "ERR_ARGUMENT", "pixels: mean and std have three channels, got ",
        mean.size(), " and ", std.size());
  const int64_t pictures = static_cast<int64_t>(edits.size()) / kEditNumbers;
  CHECK(pictures * kEditNumbers == static_cast<int64_t>(edits.size()), "ERR_ARGUMENT",
        "pixels: ", edits.size(), " numbers do not make edits of ", kEditNumbers);
  auto list = std::make_shared<std::vector<FrameEdit>>();
  for (int64_t i = 0; i < pictures; ++i)
    list->push_back(edit_of(&edits[i * kEditNumbers], i, frames.numel(), static_cast<int>(width),
                            static_cast<int>(height)));
  Tensor y = empty({pictures, 3, height, width}, dtype, frames.device());
  PixelsArgs args{frames.data<uint8_t>(),   list, y.raw(), static_cast<int>(width),
                  static_cast<int>(height), {},   {},      dtype};
  for (int c = 0; c < 3; ++c) {
    args.mean[c] = static_cast<float>(mean[c]);
    args.deviation[c] = static_cast<float>(std[c]);
  }
  launch(pixels_kernel, args, {&frames});
  return y;
}

}  // namespace native
