// Pixel work on the device, in two passes over bytes: geometry and the colour changes before contrast, whose
// grey level is a sum over the whole picture; then the rest and the normalisation.
//
// Floor, N pictures of P pixels: reads about 3 bytes per pixel of the result (more where the picture
// shrinks), moves 6 bytes of intermediate picture and writes 6 (bfloat16): 15 N P bytes; 256 pictures of 224
// x 224 are 0.19 GB, 45 us. Arithmetic is integer and does not bind, but for hue jitter (two double divisions
// per pixel).
#include <primitives/launch.h>

#include <primitives/device.cuh>

#include "common/dtype.h"
#include "ops/pixels.h"

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

// A part of the geometry: 32 columns, one for each lane, by 56 rows, of which each warp has every eighth. So
// what a lane works out for its column serves seven rows, and what a warp reads in a row lies together.
constexpr int kTileColumns = kWarpSize, kTileRows = 56;

// The 3 bytes of each lane's pixel as they follow one another: word `lane` of 24, in lanes 0 .. 23. The bytes
// of a word are of two pixels that are neighbours.
__device__ __forceinline__ uint32_t packed_word(Rgb p, int lane) {
  const uint32_t bytes = p.r | static_cast<uint32_t>(p.g) << 8 | static_cast<uint32_t>(p.b) << 16;
  const int first = lane * 4 / 3, shift = 8 * (lane % 3);
  const uint32_t low = shuffle(bytes, first & 31), high = shuffle(bytes, (first + 1) & 31);
  return low >> shift | high << (24 - shift);
}

// Bytes [pictures, pixels, 3] with everything done that comes before contrast, and the sums of their lumas:
// integers, which add up to the same in any order.
__global__ void __launch_bounds__(kThreads, 4)
    pixels_geometry_kernel(const uint8_t* __restrict__ frames, const FrameEdit* __restrict__ edits,
                           uint8_t* __restrict__ bytes, unsigned long long* __restrict__ sums, int width,
                           int height, int parts) {
  wait_for_previous_grid();
  const Part part = part_of(parts);
  const FrameEdit& e = edits[part.picture];
  const int contrast = contrast_place(e), lane = lane_index();
  const bool colored = change_place(e) < contrast;
  const int tiles = (width + kTileColumns - 1) / kTileColumns, tile_row = part.index / tiles;
  const int left = (part.index - tile_row * tiles) * kTileColumns, top = tile_row * kTileRows + warp_index();
  const int columns = width - left < kTileColumns ? width - left : kTileColumns;
  const int x = left + (lane < columns ? lane : columns - 1);
  const bool words = width % 4 == 0;  // every row, and so every 32 columns, starts on 4 bytes
  uint8_t* const picture = bytes + static_cast<int64_t>(part.picture) * width * height * 3;
  const int last = (tile_row + 1) * kTileRows, bottom = last < height ? last : height;
  const EditedColumn column(e, width, height, x);
  int sum = 0;
#pragma unroll 1
  for (int y = top; y < bottom; y += kThreads / kWarpSize) {
    Rgb p = column.pixel(frames, y);
    if (colored) p = change_colors(p, e, 0, contrast, 0);
    if (contrast < 4 && lane < columns) sum += luma(p);
    uint8_t* const row = picture + (static_cast<int64_t>(y) * width + left) * 3;
    if (words) {
      const uint32_t word = packed_word(p, lane);
      if (lane * 4 < columns * 3) reinterpret_cast<uint32_t*>(row)[lane] = word;
    } else if (lane < columns) {
      uint8_t* out = row + lane * 3;
      out[0] = p.r, out[1] = p.g, out[2] = p.b;
    }
  }
  if (contrast == 4) return;  // the same for the whole block
  for (int step = 16; step > 0; step /= 2) sum += shuffle_xor(sum, step);
  if (lane == 0) atomic_add(sums + part.picture, static_cast<unsigned long long>(sum));
}

struct Normalization {
  float mean[3];
  double scale[3];
};

// Four pixels a thread: 12 bytes read, three groups of four elements written.
template <class T>
struct alignas(4 * sizeof(T)) PixelGroup {
  T values[4];
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    pixels_color_kernel(const uint8_t* __restrict__ bytes, const FrameEdit* __restrict__ edits,
                        const unsigned long long* __restrict__ sums, T* __restrict__ y, int pixels, int parts,
                        const Normalization normalization) {
  wait_for_previous_grid();
  const Part part = part_of(parts);
  const FrameEdit& e = edits[part.picture];
  const int first = (part.index * kThreads + static_cast<int>(threadIdx.x)) * 4;
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
  const auto normal = [&](uint8_t value, int c) {
    const float difference = static_cast<float>(value) - normalization.mean[c];
    return from_float<T>(static_cast<float>(difference * normalization.scale[c]));
  };
  PixelGroup<T> red, green, blue;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    Rgb p = change_colors({byte(3 * k), byte(3 * k + 1), byte(3 * k + 2)}, e, contrast, 4, mean);
    if (e.gray) p.r = p.g = p.b = static_cast<uint8_t>(luma(p));
    red.values[k] = normal(p.r, 0);
    green.values[k] = normal(p.g, 1);
    blue.values[k] = normal(p.b, 2);
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

void edit_pictures(const PixelsArgs& a) {
  const unsigned count = static_cast<unsigned>(a.edits->size());
  if (count == 0) return;
  const int pixels = a.width * a.height;
  const Upload edits(*a.edits);
  const Scratch bytes(static_cast<size_t>(count) * pixels * 3);
  const Upload sums(std::vector<unsigned long long>(count, 0));
  const auto over = [](int size, int step) { return (size + step - 1) / step; };
  const int tiles = over(a.width, kTileColumns) * over(a.height, kTileRows),
            groups = over(pixels, 4 * kThreads);
  const auto shape = [&](int parts) {
    const int64_t blocks = int64_t{count} * parts;
    CHECK(blocks <= INT32_MAX, "ERR_SHAPE", "pixels: ", count, " pictures of ", a.width, " x ", a.height,
          " take ", blocks, " blocks, at most 2^31 - 1; edit fewer at a time");
    return LaunchShape{dim3(static_cast<unsigned>(blocks)), kThreads};
  };
  Normalization normalization;
  for (int c = 0; c < 3; ++c)
    normalization.mean[c] = a.mean[c], normalization.scale[c] = 1.0 / a.deviation[c];
  launch_kernel(pixels_geometry_kernel, shape(tiles), a.frames, edits.data<const FrameEdit>(),
                bytes.data<uint8_t>(), sums.data<unsigned long long>(), a.width, a.height, tiles);
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch_kernel(pixels_color_kernel<T>, shape(groups), bytes.data<const uint8_t>(),
                  edits.data<const FrameEdit>(), sums.data<const unsigned long long>(), static_cast<T*>(a.y),
                  pixels, groups, normalization);
  });
}

}  // namespace

REGISTER_KERNEL(pixels, cuda, edit_pictures);

}  // namespace native
