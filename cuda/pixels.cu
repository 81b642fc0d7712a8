// Pixel work on the device. Pictures that are resized once and keep their colours, as in evaluation, are made
// in one pass, from frames to planes. The others take two passes over bytes: geometry and the colour changes
// before contrast, whose grey level is a sum over the whole picture; then the rest and the normalisation.
//
// Floor, N pictures of P pixels in bfloat16: one pass reads about 3 bytes per pixel of the result (more where
// the picture shrinks) and writes 6: 256 pictures of 224 x 224 out of 336 x 448 are 144 MB, 33 us, in which
// 76 instructions a pixel can be issued; it takes about 65. Two passes move 6 bytes more, of which arithmetic
// has the larger part: two resizes in a row are four to a pixel, hue jitter divides.
#include <primitives/launch.h>

#include <algorithm>
#include <primitives/device.cuh>

#include "common/clear.h"
#include "common/dtype.h"
#include "ops/pixels.h"
#include "pixel_sampling.cuh"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

// A block has one part of one picture. Parts of all pictures count on in one dimension of the grid: the
// others end at 65,535.
struct Part {
  int picture, index;
};
__device__ __forceinline__ Part part_of(int parts) {
  const int block = static_cast<int>(blockIdx.x), picture = block / parts;
  return {picture, block - picture * parts};
}

// By channel: a byte less the mean, times the scale.
struct Normalization {
  float mean[3];
  double scale[3];
};

// Every byte normalised, per channel. A block makes its own: a table of the host's would be a copy between
// kernels, and cost more than they take.
template <class T>
struct Levels {
  struct alignas(4) Level {  // whose address is one instruction less than that of 2 bytes
    T value;
  } of[3][kThreads];

  __device__ __forceinline__ void fill(const Normalization& by) {
    static_assert(kThreads == 256, "a thread for each byte");
    const int byte = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const double level = (static_cast<float>(byte) - by.mean[c]) * by.scale[c];
      of[c][byte].value = from_float<T>(static_cast<float>(level));
    }
  }
};

// What a block makes of a picture: columns, some for each lane, by rows, some for each warp. So what a lane
// works out for a column serves all its rows, and what a warp reads in a row lies together.
template <int kLaneColumns, int kWarpRows_>
struct Tile {
  static constexpr int kWarpRows = kWarpRows_, kRows = kWarpRows * kThreads / kWarpSize;
  static constexpr int kColumns = kLaneColumns * kWarpSize;
  static int count(int width, int height) {
    return (width + kColumns - 1) / kColumns * ((height + kRows - 1) / kRows);
  }

  int left, top, rows;  // first column and row; how many rows this warp has
  __device__ __forceinline__ Tile(int index, int width, int height) {
    const int across = (width + kColumns - 1) / kColumns;
    left = index % across * kColumns, top = index / across * kRows;
    rows = height - top - warp_row() < kWarpRows ? height - top - warp_row() : kWarpRows;
  }
  __device__ __forceinline__ static int warp_row() { return warp_index() * kWarpRows; }
  __device__ __forceinline__ void find_sources(RowSource (&to)[kRows], const FrameEdit& e, int width,
                                               int height) const {
    const int row = static_cast<int>(threadIdx.x);
    if (row < kRows) to[row] = row_source(e, width, height, top + row, row % kWarpRows == 0);
  }
};

// Whether a picture is made in one pass.
__host__ __device__ inline bool is_plain(const FrameEdit& e, int width, int height) {
  return is_sampled_once(e, width, height) && change_place(e) == 4 && !e.gray;
}

using PlainTile = Tile<2, 28>;
template <class T>
struct PlainShared {
  RowSource sources[PlainTile::kRows];
  Levels<T> levels;
};

// The planes y [pictures, 3, height, width] of plain pictures.
template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    pixels_plain_kernel(const uint8_t* frames, const FrameEdit* edits, const Normalization normalization,
                        T* __restrict__ y, int width, int height, int parts) {
  wait_for_previous_grid();
  const Part part = part_of(parts);
  const FrameEdit& e = edits[part.picture];
  if (!is_plain(e, width, height)) return;
  auto& shared = shared_memory<PlainShared<T>>();
  const PlainTile tile(part.index, width, height);
  shared.levels.fill(normalization);
  tile.find_sources(shared.sources, e, width, height);
  block_barrier();
  const int lane = lane_index(), warp_row = tile.warp_row(), end = width - tile.left;
  const int64_t pixels = static_cast<int64_t>(width) * height;
  T* out = y + (part.picture * 3 * pixels + static_cast<int64_t>(tile.top + warp_row) * width + tile.left);
  const auto sample = [&](const auto& columns) {
    sample_rows(
        frames + e.offset, shared.sources + warp_row, tile.rows, columns,
        [&](int i, uint32_t r, uint32_t g, uint32_t b) {
          T* pixel = out + i * kWarpSize;
          pixel[0] = shared.levels.of[0][r].value;
          pixel[pixels] = shared.levels.of[1][g].value;
          pixel[2 * pixels] = shared.levels.of[2][b].value;
        },
        [&] { out += width; });
  };
  const auto column = [&](int at) {
    out += at;
    return column_source(e, width, height, tile.left + at);
  };
  if (PlainTile::kColumns <= end) {
    const ColumnSource columns[] = {column(lane),
                                    column_source(e, width, height, tile.left + lane + kWarpSize)};
    sample(columns);
    return;
  }
  T* const begin = out;  // lanes without a column do what the last one does
#pragma unroll 1
  for (int from = 0; from < end; from += kWarpSize) {
    out = begin;
    const ColumnSource one[] = {column(from + lane < end ? from + lane : end - 1)};
    sample(one);
  }
}

// The 3 bytes of each lane's pixel as they follow one another: word `lane` of 24, in lanes 0 .. 23. The bytes
// of a word are of two pixels that are neighbours.
__device__ __forceinline__ uint32_t packed_word(Rgb p, int lane) {
  const uint32_t bytes = p.r | static_cast<uint32_t>(p.g) << 8 | static_cast<uint32_t>(p.b) << 16;
  const int first = lane * 4 / 3, shift = 8 * (lane % 3);
  const uint32_t low = shuffle(bytes, first & 31), high = shuffle(bytes, (first + 1) & 31);
  return low >> shift | high << (24 - shift);
}

using GeometryTile = Tile<1, 14>;
struct GeometryShared {
  RowSource sources[GeometryTile::kRows];
};

// Of other pictures the bytes [pictures, height, width, 3] with everything done that comes before contrast,
// and the sums of their lumas: integers, which add up to the same in any order.
__global__ void __launch_bounds__(kThreads, 4)
    pixels_geometry_kernel(const uint8_t* frames, const FrameEdit* edits, uint8_t* __restrict__ bytes,
                           unsigned long long* __restrict__ sums, int width, int height, int parts) {
  wait_for_previous_grid();
  const Part part = part_of(parts);
  const FrameEdit& e = edits[part.picture];
  if (is_plain(e, width, height)) return;
  auto& shared = shared_memory<GeometryShared>();
  const GeometryTile tile(part.index, width, height);
  const bool once = is_sampled_once(e, width, height);
  if (once) tile.find_sources(shared.sources, e, width, height);
  block_barrier();
  const int contrast = contrast_place(e), lane = lane_index(), warp_row = tile.warp_row();
  const int top = tile.top + warp_row;
  const bool colored = change_place(e) < contrast;
  const int columns = width - tile.left < kWarpSize ? width - tile.left : kWarpSize;
  const int x = tile.left + (lane < columns ? lane : columns - 1);
  const bool words = width % 4 == 0;  // every row, and so every 32 columns, starts on 4 bytes
  uint8_t* row = bytes + ((static_cast<int64_t>(part.picture) * height + top) * width + tile.left) * 3;
  int sum = 0;
  const auto next = [&] { row += width * 3; };
  const auto finish = [&](Rgb p) {
    if (colored) p = change_colors(p, e, 0, contrast, 0);
    if (contrast < 4 && lane < columns) sum += luma(p);
    if (words) {
      const uint32_t word = packed_word(p, lane);
      if (lane * 4 < columns * 3) reinterpret_cast<uint32_t*>(row)[lane] = word;
    } else if (lane < columns) {
      uint8_t* out = row + lane * 3;
      out[0] = p.r, out[1] = p.g, out[2] = p.b;
    }
  };
  if (once) {
    const ColumnSource column[] = {column_source(e, width, height, x)};
    sample_rows(
        frames + e.offset, shared.sources + warp_row, tile.rows, column,
        [&](int, uint32_t r, uint32_t g, uint32_t b) {
          finish({static_cast<uint8_t>(r), static_cast<uint8_t>(g), static_cast<uint8_t>(b)});
        },
        next);
  } else {
    const EditedColumn column(e, width, height, x);
#pragma unroll 1
    for (int i = 0; i < tile.rows; ++i, next()) finish(column.pixel(frames, top + i));
  }
  if (contrast == 4) return;  // the same for the whole block
  for (int step = 16; step > 0; step /= 2) sum += shuffle_xor(sum, step);
  if (lane == 0) atomic_add(sums + part.picture, static_cast<unsigned long long>(sum));
}

// Four pixels a thread: 12 bytes read, three groups of four elements written.
template <class T>
struct alignas(4 * sizeof(T)) PixelGroup {
  T values[4];
};

template <class T>
__global__ void __launch_bounds__(kThreads, 5)
    pixels_color_kernel(const uint8_t* bytes, const FrameEdit* edits, const Normalization normalization,
                        const unsigned long long* sums, T* __restrict__ y, int width, int height, int parts) {
  wait_for_previous_grid();
  const Part part = part_of(parts);
  const FrameEdit& e = edits[part.picture];
  if (is_plain(e, width, height)) return;
  auto& levels = shared_memory<Levels<T>>();
  levels.fill(normalization);
  block_barrier();
  const int first = (part.index * kThreads + static_cast<int>(threadIdx.x)) * 4, pixels = width * height;
  if (first >= pixels) return;
  const int contrast = contrast_place(e);
  const int mean = contrast < 4 ? mean_level(static_cast<int64_t>(sums[part.picture]), pixels) : 0;
  const uint8_t* source = bytes + (static_cast<int64_t>(part.picture) * pixels + first) * 3;
  T* planes = y + static_cast<int64_t>(part.picture) * 3 * pixels + first;
  const bool whole = pixels % 4 == 0;  // then every group of four is aligned
  uint32_t words[3] = {};
  if (whole) {
#pragma unroll
    for (int k = 0; k < 3; ++k) words[k] = reinterpret_cast<const uint32_t*>(source)[k];
  } else {
#pragma unroll
    for (int k = 0; k < 12; ++k) {
      if (first * 3 + k < pixels * 3) words[k / 4] |= static_cast<uint32_t>(source[k]) << (8 * (k % 4));
    }
  }
  const auto byte = [&](int k) { return static_cast<uint8_t>(words[k / 4] >> (8 * (k % 4))); };
  PixelGroup<T> red, green, blue;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    Rgb p = change_colors({byte(3 * k), byte(3 * k + 1), byte(3 * k + 2)}, e, contrast, 4, mean);
    if (e.gray) p.r = p.g = p.b = static_cast<uint8_t>(luma(p));
    red.values[k] = levels.of[0][p.r].value;
    green.values[k] = levels.of[1][p.g].value;
    blue.values[k] = levels.of[2][p.b].value;
  }
  const auto store = [&](const PixelGroup<T>& group, T* plane) {
    if (whole) {
      *reinterpret_cast<PixelGroup<T>*>(plane) = group;
      return;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (first + k < pixels) plane[k] = group.values[k];
    }
  };
  store(red, planes);
  store(green, planes + pixels);
  store(blue, planes + 2 * static_cast<int64_t>(pixels));
}

template <class T>
void edit_pictures_as(const PixelsArgs& a) {
  const size_t count = a.edits->size();
  const auto plain = static_cast<size_t>(std::count_if(
      a.edits->begin(), a.edits->end(), [&](const FrameEdit& e) { return is_plain(e, a.width, a.height); }));
  const int pixels = a.width * a.height;
  const Upload edits(*a.edits);
  const FrameEdit* const edit = edits.data<const FrameEdit>();
  Normalization normalization;
  for (int c = 0; c < 3; ++c) {
    normalization.mean[c] = a.mean[c];
    normalization.scale[c] = 1.0 / static_cast<double>(a.deviation[c]);
  }
  T* const y = static_cast<T*>(a.y);
  const auto shape = [&](int parts, size_t shared_bytes) {
    const int64_t blocks = static_cast<int64_t>(count) * parts;
    CHECK(blocks <= INT32_MAX, "ERR_SHAPE", "pixels: ", count, " pictures of ", a.width, " x ", a.height,
          " take ", blocks, " blocks, at most 2^31 - 1; edit fewer at a time");
    return LaunchShape{dim3(static_cast<unsigned>(blocks)), kThreads, shared_bytes};
  };
  if (plain > 0) {
    const int tiles = PlainTile::count(a.width, a.height);
    launch_kernel(pixels_plain_kernel<T>, shape(tiles, sizeof(PlainShared<T>)), a.frames, edit, normalization,
                  y, a.width, a.height, tiles);
  }
  if (plain == count) return;
  const Scratch bytes(count * pixels * 3), sums(count * sizeof(unsigned long long));
  clear_memory(sums.data<void>(), count * sizeof(unsigned long long));
  const int tiles = GeometryTile::count(a.width, a.height),
            groups = (pixels + 4 * kThreads - 1) / (4 * kThreads);
  launch_kernel(pixels_geometry_kernel, shape(tiles, sizeof(GeometryShared)), a.frames, edit,
                bytes.data<uint8_t>(), sums.data<unsigned long long>(), a.width, a.height, tiles);
  launch_kernel(pixels_color_kernel<T>, shape(groups, sizeof(Levels<T>)), bytes.data<const uint8_t>(), edit,
                normalization, sums.data<const unsigned long long>(), y, a.width, a.height, groups);
}

void edit_pictures(const PixelsArgs& a) {
  if (a.edits->empty()) return;
  visit_device_float(a.dtype, [&](auto tag) { edit_pictures_as<typename decltype(tag)::type>(a); });
}

}  // namespace

REGISTER_KERNEL(pixels, cuda, edit_pictures);

}  // namespace native
