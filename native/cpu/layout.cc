// Strided copies on the CPU: rows of contiguous elements by memcpy, transpositions in square tiles.
#include "ops/layout.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"

namespace native {
namespace {

constexpr int64_t kTile = 32;

template <class T>
void copy_row(const T* x, int64_t x_step, T* y, int64_t y_step, int64_t count) {
  if (x_step == 1 && y_step == 1) {
    std::memcpy(y, x, static_cast<size_t>(count) * sizeof(T));
  } else if (x_step == 0 && y_step == 1) {
    std::fill(y, y + count, *x);
  } else {
    for (int64_t i = 0; i < count; ++i) y[i * y_step] = x[i * x_step];
  }
}

// The dimension before the innermost along which x is contiguous, when the innermost is not: a transposition.
int transposed_dimension(const StridedLoop& loop) {
  if (loop.ndim < 2 || loop.stride[0][loop.ndim - 1] <= 1 || loop.stride[1][loop.ndim - 1] != 1) return -1;
  for (int d = 0; d < loop.ndim - 1; ++d) {
    if (loop.stride[0][d] == 1) return d;
  }
  return -1;
}

// Dimension `across` moved next to the innermost, so that tiles of the two can be copied together.
StridedLoop with_last_pair(const StridedLoop& loop, int across) {
  StridedLoop moved = loop;
  for (int d = across; d + 2 < loop.ndim; ++d) {
    std::swap(moved.size[d], moved.size[d + 1]);
    for (auto& stride : moved.stride) std::swap(stride[d], stride[d + 1]);
  }
  return moved;
}

// y[row][column] = x[column][row] through a buffer, so that both sides are read and written along whole cache
// lines.
template <class T>
void copy_tile(const T* x, int64_t x_step, T* y, int64_t y_step, int64_t rows, int64_t columns) {
  T tile[kTile][kTile];
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) tile[row][column] = x[column * x_step + row];
  }
  for (int64_t row = 0; row < rows; ++row) std::copy(tile[row], tile[row] + columns, y + row * y_step);
}

template <class T>
void copy_tiles(const T* x, T* y, const StridedLoop& original, int across) {
  const StridedLoop loop = with_last_pair(original, across);
  StridedLoop outer = loop;  // its rows are the matrices to transpose
  outer.ndim -= 1;
  const int row_dim = loop.ndim - 2, column_dim = loop.ndim - 1;
  const int64_t rows = loop.size[row_dim], columns = loop.size[column_dim];
  const int64_t x_step = loop.stride[0][column_dim], y_step = loop.stride[1][row_dim];
  const int64_t row_tiles = (rows + kTile - 1) / kTile;
  parallel_for(outer.rows() * row_tiles, std::max<int64_t>(1, 16384 / (kTile * columns)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   int64_t offset[2];
                   outer.row_offsets(item / row_tiles, offset);
                   const int64_t first_row = item % row_tiles * kTile,
                                 last_row = std::min(first_row + kTile, rows);
                   for (int64_t first = 0; first < columns; first += kTile) {
                     copy_tile(x + offset[0] + first_row + first * x_step, x_step,
                               y + offset[1] + first_row * y_step + first, y_step, last_row - first_row,
                               std::min(kTile, columns - first));
                   }
                 }
               });
}

template <class T>
void copy(const StridedCopyArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const int across = transposed_dimension(a.loop);
  if (across >= 0) return copy_tiles(x, y, a.loop, across);
  const int64_t inner = a.loop.inner(), last = a.loop.ndim - 1;
  const int64_t x_step = a.loop.ndim ? a.loop.stride[0][last] : 1,
                y_step = a.loop.ndim ? a.loop.stride[1][last] : 1;
  if (a.loop.rows() == 1) {  // one long row: split it
    parallel_for(inner, 1 << 16, [&](int64_t begin, int64_t end) {
      copy_row(x + begin * x_step, x_step, y + begin * y_step, y_step, end - begin);
    });
    return;
  }
  parallel_for(a.loop.rows(), std::max<int64_t>(1, 16384 / inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t offset[2];
      a.loop.row_offsets(row, offset);
      copy_row(x + offset[0], x_step, y + offset[1], y_step, inner);
    }
  });
}

void forward(const StridedCopyArgs& a) {
  if (a.clear) {
    parallel_for(a.clear, 1 << 20, [&](int64_t begin, int64_t end) {
      std::memset(static_cast<char*>(a.y_base) + begin, 0, static_cast<size_t>(end - begin));
    });
  }
  if (a.numel == 0) return;
  switch (a.element_size) {
    case 1:
      return copy<uint8_t>(a);
    case 2:
      return copy<uint16_t>(a);
    case 4:
      return copy<uint32_t>(a);
    default:
      return copy<uint64_t>(a);
  }
}

REGISTER_KERNEL(strided_copy, cpu, forward);

}  // namespace
}  // namespace native
