// Pixel work on the CPU, plainly: each picture is resized and cropped into bytes, then its colours are
// changed and the bytes normalised through a table.
#include "ops/pixels.h"

#include "core/parallel.h"

namespace native {
namespace {

// (value - mean) / std of every byte, the difference rounded to float, the product with the double 1 / std to
// float.
struct Levels {
  float table[3][256];
  explicit Levels(const PixelsArgs& a) {
    for (int c = 0; c < 3; ++c) {
      const double scale = 1.0 / static_cast<double>(a.deviation[c]);
      for (int value = 0; value < 256; ++value) {
        table[c][value] = static_cast<float>((static_cast<float>(value) - a.mean[c]) * scale);
      }
    }
  }
};

template <class T>
void edit_picture(const PixelsArgs& a, const FrameEdit& e, const Levels& levels, T* planes) {
  const int64_t size = int64_t{a.width} * a.height;
  std::vector<Rgb> picture(static_cast<size_t>(size));
  const int contrast = contrast_place(e);
  int64_t sum = 0;
  std::vector<EditedColumn> columns;
  columns.reserve(static_cast<size_t>(a.width));
  for (int x = 0; x < a.width; ++x) columns.emplace_back(e, a.width, a.height, x);
  for (int y = 0; y < a.height; ++y) {
    for (int x = 0; x < a.width; ++x) {
      Rgb& p = picture[static_cast<size_t>(int64_t{y} * a.width + x)];
      p = change_colors(columns[static_cast<size_t>(x)].pixel(a.frames, y), e, 0, contrast, 0);
      sum += luma(p);
    }
  }
  const int mean = mean_level(sum, size);
  for (int64_t i = 0; i < size; ++i) {
    Rgb p = change_colors(picture[static_cast<size_t>(i)], e, contrast, 4, mean);
    if (e.gray) p.r = p.g = p.b = static_cast<uint8_t>(luma(p));
    planes[i] = T(levels.table[0][p.r]);
    planes[size + i] = T(levels.table[1][p.g]);
    planes[2 * size + i] = T(levels.table[2][p.b]);
  }
}

void edit_pictures(const PixelsArgs& a) {
  visit_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Levels levels(a);
    const int64_t count = static_cast<int64_t>(a.edits->size()), size = int64_t{3} * a.width * a.height;
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        edit_picture(a, (*a.edits)[static_cast<size_t>(i)], levels, static_cast<T*>(a.y) + i * size);
      }
    });
  });
}

}  // namespace

REGISTER_KERNEL(pixels, cpu, edit_pictures);

}  // namespace native
