// A core takes a block of b, kBlockColumns wide and kBlockDepth deep, rearranges it into panels of two
// vectors that stay in its L2 cache, and passes all rows of a by it, kTileRows at a time: a tile of a, copied
// into L1, meets every panel in a kernel whose sums stay in registers. While a tile is multiplied, the next
// one is fetched into L2 and a part of the next block of b is rearranged.
//
// Where GemmArgs::normwise allows it, operands and result are quartered and multiplied by Strassen's seven
// products of quarters instead of eight (Numerische Mathematik 13, 1969). The sums of quarters that it takes
// are made while blocks are copied and its results go to their quarters from registers (as Huang and others
// do, SC 2016), so nothing but time is saved.
#include "cpu/blocked_gemm.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/epilogue.h"
#include "cpu/isa.h"
#include "cpu/shared_tiles.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include "cpu/gemm_tile.h"
#endif

namespace native {

#if defined(__x86_64__) && defined(__GNUC__)

using namespace gemm_tile;

namespace {

// Wide, so that a passes by few blocks; this one stays in L2 while the next is written beside it.
constexpr int64_t kBlockColumns = 384;

struct Free {
  void operator()(float* data) const { std::free(data); }
};

// A thread's blocks of b, the present one and the next in turn, and tile of a.
struct Buffers {
  std::unique_ptr<float, Free> blocks[2], tile;
};

std::unique_ptr<float, Free> new_buffer(int64_t count) {
  auto* data = static_cast<float*>(std::aligned_alloc(4096, static_cast<size_t>(count) * sizeof(float)));
  CHECK(data, "ERR_OUT_OF_MEMORY", "matrix product: no memory for a block of ", count, " numbers");
  return std::unique_ptr<float, Free>(data);
}

Buffers& buffers() {
  thread_local Buffers own;
  for (auto& block : own.blocks) {
    if (!block) block = new_buffer(kBlockColumns * kBlockDepth);
  }
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

// One of the quarters 11, 12, 21, 22 of a matrix, by its half of rows and its half of columns.
struct Quarter {
  int8_t row = -1, column = -1;
  bool exists() const { return row >= 0; }
};

// (a[0] + a_sign a[1]) (b[0] + b_sign b[1]), which is added to c[0] and, with c_sign, to c[1].
struct Step {
  Quarter a[2], b[2], c[2];
  float a_sign, b_sign, c_sign[2];
};

constexpr Quarter k11{0, 0}, k12{0, 1}, k21{1, 0}, k22{1, 1}, kNone{};

constexpr Step kWhole[] = {{{k11, kNone}, {k11, kNone}, {k11, kNone}, 0, 0, {1, 0}}};

constexpr Step kStrassen[] = {
    {{k21, k22}, {k11, kNone}, {k21, k22}, 1, 0, {1, -1}},  //
    {{k11, k22}, {k11, k22}, {k11, k22}, 1, 1, {1, 1}},     //
    {{k11, kNone}, {k12, k22}, {k12, k22}, 0, -1, {1, 1}},  //
    {{k22, kNone}, {k21, k11}, {k11, k21}, 0, -1, {1, 1}},  //
    {{k11, k12}, {k22, kNone}, {k11, k12}, 1, 0, {-1, 1}},  //
    {{k21, k11}, {k11, k12}, {k22, kNone}, -1, 1, {1, 0}},  //
    {{k12, k22}, {k21, k22}, {k11, kNone}, -1, 1, {1, 0}},
};

bool same(Quarter x, Quarter y) { return x.row == y.row && x.column == y.column; }

// The steps of a product and the sizes of what each multiplies: all of the operands, or quarters.
struct Plan {
  const Step* steps;
  int64_t step_count, m, n, k;

  bool touches(int64_t step, Quarter c) const {
    return same(steps[step].c[0], c) || same(steps[step].c[1], c);
  }
  bool is_first(int64_t step, Quarter c) const {
    for (int64_t i = 0; i < step; ++i) {
      if (touches(i, c)) return false;
    }
    return true;
  }
  bool is_last(int64_t step, Quarter c) const {
    for (int64_t i = step + 1; i < step_count; ++i) {
      if (touches(i, c)) return false;
    }
    return true;
  }
};

bool strassen_pays(const GemmArgs& g) {
  static const char* const setting = std::getenv("NATIVE_STRASSEN");
  static const bool allowed = !setting || std::strcmp(setting, "0") != 0;
  return allowed && g.normwise && !g.accumulate && !g.a_sum && g.a.column == 1 && g.m % 2 == 0 &&
         g.n % (2 * kPanel) == 0 && g.k % (2 * kDepthStep) == 0 && g.m >= 256 && g.n >= 256 && g.k >= 256;
}

Plan plan_of(const GemmArgs& g) {
  if (strassen_pays(g)) return {kStrassen, 7, g.m / 2, g.n / 2, g.k / 2};
  return {kWhole, 1, g.m, g.n, g.k};
}

// Blocks of rows by blocks of columns that a product is dealt to threads in, a row of blocks after the other.
struct Grid {
  int64_t heights, widths;
  int64_t blocks() const { return heights * widths; }
};

// As many blocks of columns for each thread. Where there are more threads than blocks they share the rows
// too. That has each of them pack the whole block, so few rows are better not shared: then blocks are
// narrower, although tiles of a are copied for each. Unless b is in panels and soon packed: then each thread
// has rows of its own as long as they suffice, mostly those that it has in the layers before and after.
Grid grid_of(const GemmArgs& g, const Plan& plan, int64_t threads) {
  constexpr int64_t kFewRows = 700, kOwnRows = 96, kLeastColumns = kBlockColumns / 2;
  int64_t widths = (plan.n + kBlockColumns - 1) / kBlockColumns;
  const bool few_rows = plan.m < kFewRows;
  if (g.b_in_panels && few_rows && plan.m >= kOwnRows * threads) return {threads, widths};
  if (widths >= threads) return {1, std::min(plan.n / kPanel, (widths + threads - 1) / threads * threads)};
  for (int64_t more = widths + 1; more <= std::min(threads, plan.n / kLeastColumns); ++more) {
    if (few_rows && threads % more == 0) widths = more;
  }
  const int64_t most_heights = (plan.m + 4 * kTileRows - 1) / (4 * kTileRows);
  return {std::clamp<int64_t>(threads / widths, 1, most_heights), widths};
}

// What one thread does at a time: a block of b and the rows of a that pass by it.
struct Work {
  int64_t step;
  Range rows, columns, depth;
};

class Product {
 public:
  Product(const GemmArgs& g, const Plan& plan) : g_(g), plan_(plan) {
    a_by_row_ = g.a.column == 1;
    b_by_row_ = g.b.column == 1 || g.b_in_panels;
  }

  Part a_part(const Work& w, int64_t row) const {
    const Step& s = plan_.steps[w.step];
    const auto at = [&](Quarter q) -> const float* {
      if (!q.exists()) return nullptr;
      return static_cast<const float*>(g_.a.data) + (q.row * plan_.m + row) * g_.a.row +
             (q.column * plan_.k + w.depth.begin) * g_.a.column;
    };
    return {at(s.a[0]), at(s.a[1]), s.a_sign, a_by_row_ ? g_.a.row : g_.a.column};
  }

  // The block of b of this work, to be packed at `buffer` unless it is in memory as it will be read.
  Block block_of(const Work& w, float* buffer) const {
    const Step& s = plan_.steps[w.step];
    const auto at = [&](Quarter q) -> const float* {
      if (!q.exists()) return nullptr;
      const int64_t p = q.row * plan_.k + w.depth.begin, j = q.column * plan_.n + w.columns.begin;
      return static_cast<const float*>(g_.b.data) +
             (g_.b_in_panels ? p * kPanel + j * g_.k : p * g_.b.row + j * g_.b.column);
    };
    const int64_t stride = g_.b_in_panels ? kPanel : b_by_row_ ? g_.b.row : g_.b.column;
    const int64_t panel_stride = g_.b_in_panels ? kPanel * g_.k : kPanel;
    const Part b{at(s.b[0]), at(s.b[1]), s.b_sign, stride};
    const bool in_place = g_.b_in_panels && !b.second;
    return {
        b, b_by_row_, panel_stride, w.depth.size(), w.columns.size() / kPanel, in_place ? nullptr : buffer};
  }

  // What to fetch of the next tile, `rows`.
  void fetch_tile(const Work& now, Range rows, Ahead& ahead) const {
    const Part a = a_part(now, rows.begin);
    const int64_t a_rows = a_by_row_ ? rows.size() : now.depth.size();
    const int64_t a_count = a_by_row_ ? now.depth.size() : rows.size();
    ahead.a[0] = {a.first, a.stride, a_rows, a_count, calls_of(now)};
    if (a.second) ahead.a[1] = {a.second, a.stride, a_rows, a_count, calls_of(now)};
  }

  // Part i of `count` of the next block.
  void pack_part(const Work& now, const Block& next, int64_t i, int64_t count, Ahead& ahead) const {
    const Range units = part(next.units(), 1, i, count);
    ahead.b = {next, units.begin, units.end, calls_of(now)};
  }

  // The buffer of the block is that of the thread whose work it is, the tile's the caller's.
  void multiply_tile(const Work& w, Range rows, float* buffer, float* tile, Ahead& next) const {
    const Step& s = plan_.steps[w.step];
    Targets targets{};
    targets.row = g_.n;
    for (int i = 0; i < 2; ++i) {
      if (s.c[i].exists()) targets.each[i] = target(w, rows, s.c[i], s.c_sign[i]);
    }
    const Part a = a_part(w, rows.begin);
    const int64_t depth = w.depth.size();
    const Panels panels = block_of(w, buffer).as_read();
    if (a_by_row_) {
      (a.second ? copy_tile_rows<true> : copy_tile_rows<false>)(a, rows.size(), depth, tile);
      dispatch_rows<ByRow>(rows.size(), panels, depth, tile, targets, next);
    } else {
      copy_tile_columns(a, rows.size(), depth, tile);
      if (g_.a_sum && w.columns.begin == 0) {
        sum_tile_columns(tile, rows.size(), depth, g_.a_sum + rows.begin,
                         w.depth.begin > 0 || g_.accumulate_a_sum);
      }
      dispatch_rows<ByColumn>(rows.size(), panels, depth, tile, targets, next);
    }
    if (!(g_.quick_gelu || g_.factor || g_.residual)) return;
    for (const Quarter& c : s.c) {
      if (!c.exists() || !is_last(w, c)) continue;
      for (int64_t i = 0; i < rows.size(); ++i) {
        apply_epilogue({g_.quick_gelu, g_.slope, g_.factor, g_.residual}, g_.c, DType::float32,
                       offset(w, rows, c) + i * g_.n, w.columns.size());
      }
    }
  }

 private:
  // Times that the kernel calls Ahead::advance in a tile.
  int64_t calls_of(const Work& w) const { return w.columns.size() / kPanel * (w.depth.size() / kDepthStep); }

  // Of the first element of a tile in a quarter of c.
  int64_t offset(const Work& w, Range rows, Quarter c) const {
    return (c.row * plan_.m + rows.begin) * g_.n + c.column * plan_.n + w.columns.begin;
  }

  bool is_last(const Work& w, Quarter c) const { return w.depth.end == plan_.k && plan_.is_last(w.step, c); }

  Target target(const Work& w, Range rows, Quarter quarter, float sign) const {
    const int64_t first = offset(w, rows, quarter);
    float* c = static_cast<float*>(g_.c) + first;
    Target t{c, c, g_.n, sign, nullptr};
    if (w.depth.begin == 0 && !g_.accumulate && plan_.is_first(w.step, quarter)) {
      t.addend = g_.bias ? g_.bias + quarter.column * plan_.n + w.columns.begin : nullptr;
      t.addend_row = 0;
    }
    const void* beside = g_.slope ? g_.slope : g_.factor ? g_.factor : g_.residual;
    if (beside && is_last(w, quarter)) t.beside = static_cast<const float*>(beside) + first;
    return t;
  }

  const GemmArgs& g_;
  const Plan& plan_;
  bool a_by_row_, b_by_row_;
};

}  // namespace

bool blocked_gemm_applies(const GemmArgs& g) {
  static const bool available = uses_avx512() && __builtin_cpu_supports("x86-64-v4");
  return available && g.dtype == DType::float32 && g.result_dtype == DType::float32 && g.batch == 1 &&
         g.alpha == 1 && g.m >= 16 && g.n > 0 && g.n % kPanel == 0 && g.k > 0 && g.k % kPanel == 0;
}

void blocked_gemm(const GemmArgs& g) {
  const Plan plan = plan_of(g);
  const Product product(g, plan);
  const int64_t threads = omp_get_max_threads();
  const int64_t depths = (plan.k + kBlockDepth - 1) / kBlockDepth;
  const Grid grid = grid_of(g, plan, threads);
  // Steps within depths within blocks of c.
  const int64_t works = depths * plan.step_count;
  const auto work_of = [&](int64_t i) -> Work {
    const int64_t block = i / works, depth = i % works / plan.step_count;
    return {i % plan.step_count, part(plan.m, 1, block / grid.widths, grid.heights),
            part(plan.n, kPanel, block % grid.widths, grid.widths), part(plan.k, kDepthStep, depth, depths)};
  };
  const auto tiles_of = [&](int64_t i) { return (work_of(i).rows.size() + kTileRows - 1) / kTileRows; };
  // A thread's offer stands at the first block of its range.
  struct Offer {
    SharedTiles tiles;
    float* blocks[2] = {nullptr, nullptr};
    int64_t last_work = 0;

    float* block(int64_t work) const { return blocks[work % 2]; }
  };
  std::vector<Offer> offers(static_cast<size_t>(grid.blocks()));
  parallel_for(grid.blocks(), 1, [&](int64_t begin, int64_t end) {
    Buffers& own = buffers();
    const auto multiply = [&](const Offer& offer, SharedTiles::Claim claim) {
      const Work now = work_of(claim.work);
      const int64_t tiles = tiles_of(claim.work);
      const auto rows_of = [&](int64_t j) -> Range {
        const Range tile = part(now.rows.size(), 1, j, tiles);
        return {now.rows.begin + tile.begin, now.rows.begin + tile.end};
      };
      Ahead ahead;
      product.fetch_tile(now, rows_of(std::min(claim.tile + 1, tiles - 1)), ahead);
      if (claim.work < offer.last_work) {
        const Block next = product.block_of(work_of(claim.work + 1), offer.block(claim.work + 1));
        product.pack_part(now, next, claim.tile, tiles, ahead);
      }
      product.multiply_tile(now, rows_of(claim.tile), offer.block(claim.work), own.tile.get(), ahead);
      ahead.b.finish();
    };
    Offer& mine = offers[static_cast<size_t>(begin)];
    for (int i = 0; i < 2; ++i) mine.blocks[i] = own.blocks[i].get();
    mine.last_work = end * works - 1;
    pack_block(product.block_of(work_of(begin * works), mine.block(begin * works)));
    for (int64_t i = begin * works; i < end * works; ++i) {
      const int64_t tiles = tiles_of(i);
      mine.tiles.open(i);
      for (auto claim = mine.tiles.claim(); claim.tile < tiles; claim = mine.tiles.claim()) {
        multiply(mine, claim);
        mine.tiles.finish_tile();
      }
      mine.tiles.await(tiles);
    }
    mine.tiles.close();
    for (int64_t i = 1; i < grid.blocks(); ++i) {
      Offer& other = offers[static_cast<size_t>((begin + i) % grid.blocks())];
      other.tiles.help(tiles_of, [&](SharedTiles::Claim claim) { multiply(other, claim); });
    }
  });
}

#else

bool blocked_gemm_applies(const GemmArgs&) { return false; }
void blocked_gemm(const GemmArgs&) { fail("ERR_INTERNAL", "matrix product: AVX-512 is not in this build"); }

#endif

}  // namespace native
