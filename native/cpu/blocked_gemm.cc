// A core takes a block of b, kBlockColumns wide and kBlockDepth deep, rearranges it into panels of two
// vectors that stay in its L2 cache, and passes all rows of a by it, kTileRows at a time: a tile of a, copied
// into L1, meets every panel in a kernel whose sums stay in registers (28 of the 32). One multiply-add per
// cycle is the limit of the processor, and the kernel runs at 99 % of it; the rest is to have the operands at
// hand. While a tile is multiplied, the next one and a part of the next block of b are fetched into L2.
#include "cpu/blocked_gemm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/epilogue.h"
#include "cpu/isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace native {

#if defined(__x86_64__) && defined(__GNUC__)

#define AVX512 __attribute__((target("arch=x86-64-v4")))
#define INLINE_AVX512 inline __attribute__((always_inline, target("arch=x86-64-v4")))

namespace {

constexpr int64_t kLanes = 16, kPanel = 2 * kLanes;
constexpr int64_t kTileRows = 14;
constexpr int64_t kBlockDepth = 384;
constexpr int64_t kBlockColumns = 384;
constexpr int64_t kDepthStep = 32;  // k is a multiple of it

// A tile of a as copied: [rows][kRowStride] when its rows are contiguous in memory, [depth][kLanes] when its
// columns are. The odd number of cache lines between rows spreads them over the sets of L1.
constexpr int64_t kRowStride = kBlockDepth + kLanes;
struct ByRow {
  static constexpr int64_t row = kRowStride, column = 1;
};
struct ByColumn {
  static constexpr int64_t row = 1, column = kLanes;
};

// Fetches the lines of a matrix in memory into L2, some with every call of advance.
class Fetcher {
 public:
  // `rows` rows of `count` contiguous elements, in `calls` calls.
  Fetcher(const float* x, int64_t stride, int64_t rows, int64_t count, int64_t calls)
      : row_(x), stride_(stride), count_(count), rows_(rows) {
    const int64_t lines = rows * ((count + kLanes - 1) / kLanes);
    at_once_ = (lines + calls - 1) / calls;
  }

  // From the end of each row backwards: where a row begins within a line, the matrix before it has fetched
  // that.
  void advance() {
    for (int64_t i = 0; i < at_once_ && rows_ > 0; ++i) {
      _mm_prefetch(row_ + count_ - 1 - offset_, _MM_HINT_T1);
      offset_ += kLanes;
      if (offset_ < count_) continue;
      offset_ = 0;
      row_ += stride_;
      --rows_;
    }
  }

 private:
  const float* row_;
  int64_t stride_, count_, rows_, at_once_, offset_ = 0;
};

// Where the sums of a tile go: c[i] = sums[i] + addend[i]. The addend is c itself after the first block of k.
struct Target {
  float* c;
  int64_t c_row;
  const float* addend;  // or null
  int64_t addend_row;   // 0 adds one row to all
  const float* beside;  // rows as those of c that the epilogue will read or write, or null
};

template <class Tile, int rows>
INLINE_AVX512 void multiply(int64_t depth, const float* a, const float* panel, const Target& t,
                            Fetcher* next) {
  __m512 sum[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  float* line = t.c;
  const float* line_beside = t.beside;
  for (int64_t done = 0; done < depth; done += kDepthStep) {
    next[0].advance();
    next[1].advance();
    for (int64_t i = 0; i < 2; ++i, line += t.c_row) {
      __builtin_prefetch(line, 1);
      __builtin_prefetch(line + kLanes, 1);
      if (!t.beside) continue;
      __builtin_prefetch(line_beside);
      __builtin_prefetch(line_beside + kLanes);
      line_beside += t.c_row;
    }
#pragma GCC unroll 1
    for (int64_t p = 0; p < kDepthStep; ++p, a += Tile::column, panel += kPanel) {
      const __m512 left = _mm512_load_ps(panel), right = _mm512_load_ps(panel + kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const __m512 factor = _mm512_set1_ps(a[i * Tile::row]);
        sum[i][0] = _mm512_fmadd_ps(factor, left, sum[i][0]);
        sum[i][1] = _mm512_fmadd_ps(factor, right, sum[i][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    if (t.addend) {
      sum[i][0] = _mm512_add_ps(sum[i][0], _mm512_loadu_ps(t.addend + i * t.addend_row));
      sum[i][1] = _mm512_add_ps(sum[i][1], _mm512_loadu_ps(t.addend + i * t.addend_row + kLanes));
    }
    _mm512_storeu_ps(t.c + i * t.c_row, sum[i][0]);
    _mm512_storeu_ps(t.c + i * t.c_row + kLanes, sum[i][1]);
  }
}

template <class Tile, int rows>
AVX512 void multiply_panels(int64_t panels, int64_t depth, const float* a, const float* block, Target t,
                            Fetcher* next) {
  for (int64_t i = 0; i < panels; ++i) {
    multiply<Tile, rows>(depth, a, block + i * depth * kPanel, t, next);
    t.c += kPanel;
    if (t.addend) t.addend += kPanel;
    if (t.beside) t.beside += kPanel;
  }
}

// Calls multiply_panels for the number of rows.
template <class Tile, int rows = kTileRows>
void dispatch_rows(int64_t count, int64_t panels, int64_t depth, const float* a, const float* block,
                   const Target& t, Fetcher* next) {
  if constexpr (rows > 0) {
    if (count == rows) return multiply_panels<Tile, rows>(panels, depth, a, block, t, next);
    dispatch_rows<Tile, rows - 1>(count, panels, depth, a, block, t, next);
  }
}

AVX512 void copy_tile_rows(const float* a, int64_t stride, int64_t rows, int64_t depth, float* tile) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t p = 0; p < depth; p += kLanes)
      _mm512_store_ps(tile + i * kRowStride + p, _mm512_loadu_ps(a + i * stride + p));
  }
}

AVX512 void copy_tile_columns(const float* a, int64_t stride, int64_t rows, int64_t depth, float* tile) {
  const auto mask = static_cast<__mmask16>((1u << rows) - 1);
  for (int64_t p = 0; p < depth; ++p)
    _mm512_store_ps(tile + p * kLanes, _mm512_maskz_loadu_ps(mask, a + p * stride));
}

// sum[i] (+)= the sum of a tile in columns over its depth.
AVX512 void sum_tile_columns(const float* tile, int64_t rows, int64_t depth, float* sum, bool accumulate) {
  __m512 total[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t p = 0; p < depth; p += 4) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i)
      total[i] = _mm512_add_ps(total[i], _mm512_load_ps(tile + (p + i) * kLanes));
  }
  const auto mask = static_cast<__mmask16>((1u << rows) - 1);
  __m512 all = _mm512_add_ps(_mm512_add_ps(total[0], total[1]), _mm512_add_ps(total[2], total[3]));
  if (accumulate) all = _mm512_add_ps(all, _mm512_maskz_loadu_ps(mask, sum));
  _mm512_mask_storeu_ps(sum, mask, all);
}

// A panel [depth][kPanel] from rows of b.
AVX512 void pack_rows(const float* b, int64_t stride, int64_t depth, float* panel) {
  for (int64_t p = 0; p < depth; ++p, b += stride, panel += kPanel) {
    _mm512_store_ps(panel, _mm512_loadu_ps(b));
    _mm512_store_ps(panel + kLanes, _mm512_loadu_ps(b + kLanes));
  }
}

// Eight by eight, from rows to columns.
INLINE_AVX512 void transpose_eight(const float* rows, int64_t stride, float* columns) {
  __m256 x[8], y[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) x[i] = _mm256_loadu_ps(rows + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44);
    x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xEE);
    x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_store_ps(columns + i * kPanel, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
    _mm256_store_ps(columns + (i + 4) * kPanel, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
  }
}

// A panel [depth][kPanel] from columns of b, which are contiguous.
AVX512 void pack_columns(const float* b, int64_t stride, int64_t depth, float* panel) {
  for (int64_t j = 0; j < kPanel; j += 8) {
    for (int64_t p = 0; p < depth; p += 8)
      transpose_eight(b + j * stride + p, stride, panel + p * kPanel + j);
  }
}

struct Free {
  void operator()(float* data) const { std::free(data); }
};

// A thread's block of b and tile of a.
struct Buffers {
  std::unique_ptr<float, Free> block, tile;
};

std::unique_ptr<float, Free> new_buffer(int64_t count) {
  auto* data = static_cast<float*>(std::aligned_alloc(4096, static_cast<size_t>(count) * sizeof(float)));
  CHECK(data, "ERR_OUT_OF_MEMORY", "matrix product: no memory for a block of ", count, " numbers");
  return std::unique_ptr<float, Free>(data);
}

Buffers& buffers() {
  thread_local Buffers own;
  if (!own.block) own.block = new_buffer(kBlockColumns * kBlockDepth);
  if (!own.tile) own.tile = new_buffer(kTileRows * kRowStride + 1024 - kTileRows * kRowStride % 1024);
  return own;
}

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Part i of `count` parts of 0 .. total - 1, as even as steps of `step` allow.
Range part(int64_t total, int64_t step, int64_t i, int64_t count) {
  const int64_t steps = (total + step - 1) / step;
  return {std::min(total, steps * i / count * step), std::min(total, steps * (i + 1) / count * step)};
}

struct Operands {
  const float *a, *b;
  bool a_by_row, b_by_row;
  int64_t a_stride, b_stride;

  const float* a_at(int64_t row, int64_t p) const {
    return a + (a_by_row ? row * a_stride + p : p * a_stride + row);
  }
  const float* b_at(int64_t p, int64_t column) const {
    return b + (b_by_row ? p * b_stride + column : column * b_stride + p);
  }
};

void pack_block(const Operands& x, Range depth, Range columns, float* block) {
  for (int64_t j = columns.begin; j < columns.end; j += kPanel, block += depth.size() * kPanel) {
    (x.b_by_row ? pack_rows : pack_columns)(x.b_at(depth.begin, j), x.b_stride, depth.size(), block);
  }
}

// A fetcher of part i of `count` of a block of b.
Fetcher fetch_block(const Operands& x, Range depth, Range columns, int64_t i, int64_t count, int64_t calls) {
  const Range rows = part(x.b_by_row ? depth.size() : columns.size(), 1, i, count);
  const float* first = x.b_by_row ? x.b_at(depth.begin + rows.begin, columns.begin)
                                  : x.b_at(depth.begin, columns.begin + rows.begin);
  return {first, x.b_stride, rows.size(), x.b_by_row ? columns.size() : depth.size(), calls};
}

Fetcher fetch_tile(const Operands& x, Range rows, Range depth, int64_t calls) {
  return {x.a_at(rows.begin, depth.begin), x.a_stride, x.a_by_row ? rows.size() : depth.size(),
          x.a_by_row ? depth.size() : rows.size(), calls};
}

void multiply_tile(const GemmArgs& g, const Operands& x, Range rows, Range depth, Range columns, Buffers& own,
                   Fetcher* next) {
  const int64_t first = rows.begin * g.n + columns.begin;
  float* c = static_cast<float*>(g.c) + first;
  Target target{c, g.n, c, g.n, nullptr};
  const void* beside = g.slope ? g.slope : g.factor ? g.factor : g.residual;
  if (beside && depth.end == g.k) target.beside = static_cast<const float*>(beside) + first;
  if (depth.begin == 0 && !g.accumulate) {
    target.addend = g.bias ? g.bias + columns.begin : nullptr;
    target.addend_row = 0;
  }
  const int64_t panels = columns.size() / kPanel;
  if (x.a_by_row) {
    copy_tile_rows(x.a_at(rows.begin, depth.begin), x.a_stride, rows.size(), depth.size(), own.tile.get());
    dispatch_rows<ByRow>(rows.size(), panels, depth.size(), own.tile.get(), own.block.get(), target, next);
  } else {
    copy_tile_columns(x.a_at(rows.begin, depth.begin), x.a_stride, rows.size(), depth.size(), own.tile.get());
    if (g.a_sum && columns.begin == 0) {
      sum_tile_columns(own.tile.get(), rows.size(), depth.size(), g.a_sum + rows.begin,
                       depth.begin > 0 || g.accumulate_a_sum);
    }
    dispatch_rows<ByColumn>(rows.size(), panels, depth.size(), own.tile.get(), own.block.get(), target, next);
  }
  if (depth.end < g.k || !(g.quick_gelu || g.factor || g.residual)) return;
  for (int64_t i = 0; i < rows.size(); ++i) {
    apply_epilogue({g.quick_gelu, g.slope, g.factor, g.residual}, g.c, DType::float32, first + i * g.n,
                   columns.size());
  }
}

}  // namespace

bool blocked_gemm_applies(const GemmArgs& g) {
  static const bool available = uses_avx512() && __builtin_cpu_supports("x86-64-v4");
  return available && g.dtype == DType::float32 && g.result_dtype == DType::float32 && g.batch == 1 &&
         g.alpha == 1 && g.m >= 16 && g.n > 0 && g.n % kPanel == 0 && g.k > 0 && g.k % kPanel == 0;
}

void blocked_gemm(const GemmArgs& g) {
  const bool a_by_row = g.a.column == 1, b_by_row = g.b.column == 1;
  const Operands x{
      static_cast<const float*>(g.a.data), static_cast<const float*>(g.b.data), a_by_row, b_by_row,
      a_by_row ? g.a.row : g.a.column,     b_by_row ? g.b.row : g.b.column};
  const int64_t threads = omp_get_max_threads();
  const int64_t depths = (g.k + kBlockDepth - 1) / kBlockDepth;
  // As many blocks of columns for each thread; where there are more threads than blocks they share the rows
  // too.
  int64_t widths = (g.n + kBlockColumns - 1) / kBlockColumns;
  if (widths > threads) widths = std::min(g.n / kPanel, (widths + threads - 1) / threads * threads);
  const int64_t most_heights = (g.m + 4 * kTileRows - 1) / (4 * kTileRows);
  const int64_t heights = std::clamp<int64_t>(threads / widths, 1, most_heights);
  const auto columns_of = [&](int64_t task) { return part(g.n, kPanel, task / heights, widths); };
  const auto depth_of = [&](int64_t i) { return part(g.k, kDepthStep, i, depths); };
  parallel_for(heights * widths, 1, [&](int64_t begin, int64_t end) {
    Buffers& own = buffers();
    for (int64_t step = begin * depths; step < end * depths; ++step) {
      const int64_t task = step / depths, next = std::min(step + 1, end * depths - 1);
      const Range rows = part(g.m, 1, task % heights, heights), columns = columns_of(task);
      const Range depth = depth_of(step % depths);
      const int64_t tiles = (rows.size() + kTileRows - 1) / kTileRows;
      const int64_t calls = columns.size() / kPanel * (depth.size() / kDepthStep);
      const auto tile_of = [&](int64_t i) {
        const Range tile = part(rows.size(), 1, i, tiles);
        return Range{rows.begin + tile.begin, rows.begin + tile.end};
      };
      pack_block(x, depth, columns, own.block.get());
      for (int64_t i = 0; i < tiles; ++i) {
        Fetcher fetchers[] = {
            fetch_tile(x, tile_of(std::min(i + 1, tiles - 1)), depth, calls),
            fetch_block(x, depth_of(next % depths), columns_of(next / depths), i, tiles, calls)};
        multiply_tile(g, x, tile_of(i), depth, columns, own, fetchers);
      }
    }
  });
}

#else

bool blocked_gemm_applies(const GemmArgs&) { return false; }
void blocked_gemm(const GemmArgs&) { fail("ERR_INTERNAL", "matrix product: AVX-512 is not in this build"); }

#endif

}  // namespace native
