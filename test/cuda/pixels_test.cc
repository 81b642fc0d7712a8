// Pixel work on the device against the same arithmetic in plain loops, bit for bit: pictures of one pass and
// of two, resized once, twice and not at all, frames that begin and rows that lie at any byte.
#include "ops/pixels.h"

#include "check.h"
#include "mutation.h"

using namespace check;
using native::FrameEdit;

namespace {

// What happens to a frame of width x height: resized, cut, brought to the size of the result.
struct Edit {
  int width, height, resized_width, resized_height, x, y, crop_width, crop_height;
  bool flip = false, gray = false;
  std::vector<int> operations = {};  // 0 brightness, 1 contrast, 2 saturation, 3 hue
};

constexpr double kBrightness = 1.2, kContrast = 0.7, kSaturation = 1.3;
constexpr int kHueShift = 11;
const std::vector<double> kMean = {123.675, 116.28, 103.53}, kDeviation = {58.395, 57.12, 57.375};

std::vector<double> numbers_of(const Edit& e, int64_t offset) {
  int operations = 0, place = 1;
  for (const int operation : e.operations) operations += place * (operation + 1), place *= 5;
  std::vector<double> numbers = {static_cast<double>(offset)};
  for (const int number : {e.width, e.height, e.resized_width, e.resized_height, e.x, e.y, e.crop_width,
                           e.crop_height, int{e.flip}, int{e.gray}, operations})
    numbers.push_back(number);
  numbers.insert(numbers.end(), {kBrightness, kContrast, kSaturation, kHueShift});
  return numbers;
}

FrameEdit frame_edit_of(const Edit& e, int64_t offset, int width, int height) {
  FrameEdit edit{};
  edit.offset = offset, edit.width = e.width, edit.height = e.height;
  edit.resized_width = e.resized_width, edit.resized_height = e.resized_height;
  edit.x = e.x, edit.y = e.y, edit.crop_width = e.crop_width, edit.crop_height = e.crop_height;
  edit.flip = e.flip, edit.gray = e.gray;
  for (int8_t& operation : edit.operations) operation = -1;
  for (size_t i = 0; i < e.operations.size(); ++i) edit.operations[i] = static_cast<int8_t>(e.operations[i]);
  edit.brightness = static_cast<float>(kBrightness), edit.contrast = static_cast<float>(kContrast);
  edit.saturation = static_cast<float>(kSaturation), edit.hue_shift = kHueShift;
  edit.whole_scale[0] = native::axis_scale(e.width, e.resized_width);
  edit.whole_scale[1] = native::axis_scale(e.height, e.resized_height);
  edit.crop_scale[0] = native::axis_scale(e.crop_width, width);
  edit.crop_scale[1] = native::axis_scale(e.crop_height, height);
  return edit;
}

Values reference(const FrameEdit& e, const std::vector<uint8_t>& frames, int width, int height, DType dtype) {
  std::vector<native::Rgb> picture;
  const int contrast = native::contrast_place(e);
  int64_t sum = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const native::Rgb p = native::EditedColumn(e, width, height, x).pixel(frames.data(), y);
      picture.push_back(native::change_colors(p, e, 0, contrast, 0));
      sum += native::luma(picture.back());
    }
  }
  const int mean = native::mean_level(sum, int64_t{width} * height);
  Values planes;
  for (size_t c = 0; c < 3; ++c) {
    for (native::Rgb p : picture) {
      p = native::change_colors(p, e, contrast, 4, mean);
      if (e.gray) p.r = p.g = p.b = static_cast<uint8_t>(native::luma(p));
      const float difference = static_cast<float>(c == 0   ? p.r
                                                  : c == 1 ? p.g
                                                           : p.b) -
                               static_cast<float>(kMean[c]);
      const double scale = 1.0 / static_cast<double>(static_cast<float>(kDeviation[c]));
      planes.push_back(rounded(static_cast<float>(difference * scale), dtype));
    }
  }
  return planes;
}

// What differs: empty if nothing. The pictures lie one behind the other from byte 5 on, of an odd address.
std::string faults(const std::vector<Edit>& list, int width, int height, DType dtype) {
  std::vector<double> numbers;
  std::vector<FrameEdit> edits;
  int64_t end = 5;
  for (const Edit& e : list) {
    const std::vector<double> its = numbers_of(e, end);
    numbers.insert(numbers.end(), its.begin(), its.end());
    edits.push_back(frame_edit_of(e, end, width, height));
    end += int64_t{3} * e.width * e.height;
  }
  const Values bytes = integers(end, 1, 0, 256);
  const std::vector<uint8_t> frames(bytes.begin(), bytes.end());
  const Tensor y = native::pixels(to_device(bytes, {end}, DType::uint8, 1), numbers, width, height, kMean,
                                  kDeviation, dtype);
  Values expected;
  for (const FrameEdit& e : edits) {
    const Values planes = reference(e, frames, width, height, dtype);
    expected.insert(expected.end(), planes.begin(), planes.end());
  }
  return difference(to_host(y), expected, 0);
}

void expect_right(const std::vector<Edit>& edits, int width, int height) {
  for (const DType dtype : kFloats) {
    const std::string wrong = faults(edits, width, height, dtype);
    CHECK_MESSAGE(wrong.empty(),
                  width << " x " << height << " " << native::dtype_name(dtype) << ": " << wrong);
  }
}

}  // namespace

TEST_CASE("pixels in one pass: resized once or not at all, colours kept") {
  expect_right({{101, 252, 97, 240, 3, 4, 93, 235}, {93, 235, 93, 235, 0, 0, 93, 235, true}}, 93, 235);
  expect_right({{31, 9, 140, 50, 1, 3, 130, 47}, {640, 90, 320, 60, 99, 7, 130, 47, true}}, 130, 47);
  expect_right({{83, 20, 83, 20, 13, 3, 70, 17}, {66, 30, 66, 30, 0, 0, 1, 30}}, 66, 30);
  expect_right({{2, 6, 2, 6, 1, 1, 1, 5}, {1, 6, 1, 6, 0, 0, 1, 6}, {7, 6, 7, 6, 6, 0, 1, 6}}, 4, 5);
  expect_right({{1, 1, 1, 1, 0, 0, 1, 1}}, 1, 1);
}

TEST_CASE("pixels in two passes: two resizes, colours, and pictures of one pass between them") {
  expect_right({{90, 70, 100, 80, 3, 4, 60, 50, true, false, {2, 1, 3, 0}},
                {76, 61, 76, 61, 0, 0, 76, 61},
                {76, 61, 90, 70, 2, 3, 76, 61, false, true, {0, 3}},
                {50, 40, 60, 50, 1, 2, 40, 30}},
               76, 61);
  expect_right(
      {{67, 117, 67, 117, 0, 0, 67, 117, false, true}, {80, 120, 80, 120, 3, 0, 77, 120, true, false, {1}}},
      67, 117);
  // Of one pixel each: their sums are so small that a bit of what was in memory before would show.
  expect_right(std::vector<Edit>(16, {1, 1, 1, 1, 0, 0, 1, 1, false, false, {1}}), 1, 1);
}

#ifdef CUDA_EMULATION
TEST_CASE("pixels: every barrier is needed") {
  int calls = 0;
  const std::vector<std::string> unnoticed = unnoticed_sites(
      "cuda/pixel",
      [] {
        return faults(
            {{50, 130, 70, 120, 3, 4, 66, 115}, {66, 115, 66, 115, 0, 0, 66, 115, false, false, {0, 1}}}, 66,
            115, DType::bfloat16);
      },
      &calls);
  CHECK(unnoticed == std::vector<std::string>{});
  CHECK(calls >= 6);
}
#endif
