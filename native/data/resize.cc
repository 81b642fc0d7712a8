#include "resize.h"

#include <algorithm>
#include <cmath>

namespace native::data {
namespace {

int16_t weight(float part) { return static_cast<int16_t>(std::lrint(part * 2048.0f)); }

// n results of one row from two blended source rows.
void blend_rows(const int16_t* upper, const int16_t* lower, int16_t upper_weight, int16_t lower_weight,
                uint8_t* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const int16_t a = static_cast<int16_t>((upper_weight * upper[i]) >> 16);
    const int16_t b = static_cast<int16_t>((lower_weight * lower[i]) >> 16);
    out[i] = static_cast<uint8_t>((a + b + 2) >> 2);
  }
}

}  // namespace

// `inside` moves neighbours into the picture and their weights with them; rows are clamped when they are read
// instead, and keep their weights, which rounds differently.
void Resizer::Axis::prepare(int from_size, int to_size, bool inside) {
  if (from == from_size && to == to_size) return;
  from = from_size;
  to = to_size;
  first.resize(static_cast<size_t>(to));
  weights.resize(static_cast<size_t>(to));
  const double scale = 1.0 / (static_cast<double>(to) / from);
  for (int i = 0; i < to; ++i) {
    const float position = static_cast<float>((i + 0.5) * scale - 0.5);
    int low = static_cast<int>(std::floor(position));
    float part = position - static_cast<float>(low);
    if (inside && low < 0) low = 0, part = 0;
    if (inside && low >= from - 1) low = std::max(from - 2, 0), part = 1;
    first[static_cast<size_t>(i)] = low;
    weights[static_cast<size_t>(i)] = {weight(1.0f - part), weight(part)};
  }
}

const int16_t* Resizer::blended_row(const ImageView& from, int y, const Box& part) {
  y = std::clamp(y, 0, from.height - 1);
  const size_t place = static_cast<size_t>(y & 1);
  std::vector<int16_t>& row = rows_[place];
  if (row_numbers_[place] == y) return row.data();
  row_numbers_[place] = y;
  row.resize(static_cast<size_t>(part.width) * 3);
  const uint8_t* source = from.row(y);
  const int step = from.width > 1 ? 3 : 0;
  const int* first = x_.first.data() + part.x;
  const std::array<int16_t, 2>* weights = x_.weights.data() + part.x;
  int16_t* out = row.data();
  for (int x = 0; x < part.width; ++x, out += 3) {
    const uint8_t* left = source + first[x] * 3;
    const int a = weights[x][0], b = weights[x][1];
    out[0] = static_cast<int16_t>((left[0] * a + left[step] * b) >> 4);
    out[1] = static_cast<int16_t>((left[1] * a + left[step + 1] * b) >> 4);
    out[2] = static_cast<int16_t>((left[2] * a + left[step + 2] * b) >> 4);
  }
  return row.data();
}

void Resizer::resize(const ImageView& from, int width, int height, const Box& part, Image& to) {
  x_.prepare(from.width, width, true);
  y_.prepare(from.height, height, false);
  row_numbers_ = {-1, -1};
  to.reshape(part.width, part.height);
  const size_t row = static_cast<size_t>(part.width) * 3;
  for (int y = 0; y < part.height; ++y) {
    const size_t line = static_cast<size_t>(part.y + y);
    const int16_t* upper = blended_row(from, y_.first[line], part);
    const int16_t* lower = blended_row(from, y_.first[line] + 1, part);
    blend_rows(upper, lower, y_.weights[line][0], y_.weights[line][1],
               to.bytes.data() + static_cast<size_t>(y) * row, row);
  }
}

}  // namespace native::data
