// A core takes a block of b, kBlockColumns wide and kBlockDepth deep, rearranges it into panels of two
// vectors that stay in its L2 cache, and passes all rows of a by it, kTileRows at a time: a tile of a, copied
// into L1, meets every panel in a kernel whose sums stay in registers. While a tile is multiplied, the next
// one is copied and a part of the next block of b is rearranged.
//
// Where GemmArgs::normwise allows it, operands and result are divided into parts and multiplied by Strassen's
// algorithm. The sums of parts that it takes are made while they are copied, and its results go to their
// parts from registers (as Huang and others do, SC 2016). What belongs to one strip of each part of c is done
// by all steps before the next strip, so that c is in cache until it is complete.
#include "cpu/blocked_gemm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/blocks.h"
#include "cpu/epilogue.h"
#include "cpu/lanes.h"
#include "cpu/shared_tiles.h"
#include "cpu/strassen.h"

#ifdef HAS_VECTOR_TARGETS
#include "cpu/gemm_tile.h"
#endif

namespace native {

#ifdef HAS_VECTOR_TARGETS

using namespace gemm_tile;

namespace {

// Wide, so that a passes by few blocks; this one stays in L2 while the next is written beside it.
constexpr int64_t kBlockColumns = 384;
constexpr int64_t kNarrowBlockColumns = kBlockColumns * kBlockDepth / kNarrowBlockDepth;
// Rows and columns that a thread takes of each part of c, where there are several, by the level of Strassen's
// algorithm. Fewer are copied more often, more do not stay in cache; these were the fastest.
template <int lanes>
constexpr int64_t kStripRows[] = {0, lanes == 16 ? 224 : 400, 200};
constexpr int64_t kStripColumns[] = {0, 256, 384};
constexpr int64_t kMostTileRows = kTileRows<16>;
static_assert(kTileRows<8> <= kMostTileRows);

// A thread's blocks of b and tiles of a, the present ones and the next in turn, and its strip of c.
struct Buffers {
  Buffer<float> blocks[2], tiles[2], strip;
  int64_t strip_size = 0;
};

Buffers& buffers(int64_t strip) {
  thread_local Buffers own;
  for (auto& block : own.blocks) {
    if (!block) block = new_buffer<float>(kBlockColumns * kBlockDepth);
  }
  for (auto& tile : own.tiles) {
    if (!tile) tile = new_buffer<float>(kMostTileRows * kRowStride);
  }
  if (strip > own.strip_size) {
    own.strip_size = 0;
    own.strip = new_buffer<float>(strip);
    own.strip_size = strip;
  }
  return own;
}

// The steps of a product, over operands in `parts` by `parts` parts, and the sizes of what each multiplies.
struct Plan {
  int level;  // of Strassen's algorithm
  int64_t parts;
  const std::vector<Step>& steps;
  int64_t m, n, k;
  int64_t block_depth;

  int64_t step_count() const { return static_cast<int64_t>(steps.size()); }
};

// Where NATIVE_STRASSEN says how often the algorithm may be taken, the processor makes no difference.
const char* strassen_setting() {
  static const char* const setting = std::getenv("NATIVE_STRASSEN");
  return setting;
}

// Parts are read several times over, and b again for each strip of rows. Intel's cores multiply twice as fast
// by AVX-512 as those that the measures of strassen_pays are of but read no faster beyond their own cache, so
// there the first level pays while one strip has all rows, and the second never; that one does not with AVX2
// either, which has half the lanes to add up parts with.
template <int lanes>
bool reads_too_often(int64_t rows, int level) {
  if (strassen_setting()) return false;
  if (lanes == 8) return level > 1;
  static const bool reads_slowly = __builtin_cpu_is("intel");
  return reads_slowly && (level > 1 || rows > kStripRows<lanes>[level]);
}

// Against the multiply-adds, sums of parts weigh as the surface of a block of m by n by k does against its
// volume. From these measures on a level takes less time than the one before.
template <int lanes>
bool strassen_pays(const GemmArgs& g, int level) {
  constexpr double kMostSurface[] = {0, 0.022, 0.0185};
  constexpr int64_t kLeastColumns = 128, kLeastDepth = 128;
  const int64_t parts = int64_t{1} << level;
  const int64_t unit = parts * kPanel<lanes>;
  if (g.m % parts != 0 || g.n % unit != 0 || g.k % unit != 0) return false;
  const int64_t m = g.m / parts, n = g.n / parts, k = g.k / parts;
  if (reads_too_often<lanes>(m, level)) return false;
  const double surface =
      1.0 / static_cast<double>(m) + 1.0 / static_cast<double>(n) + 1.0 / static_cast<double>(k);
  return n >= kLeastColumns && k >= kLeastDepth && surface <= kMostSurface[level];
}

template <int lanes>
int strassen_level(const GemmArgs& g) {
  const char* const setting = strassen_setting();
  static const int most = setting ? std::clamp(std::atoi(setting), 0, kStrassenLevels) : kStrassenLevels;
  if (!g.normwise || g.accumulate || g.a_sum || g.a.column != 1) return 0;
  int level = most;
  while (level > 0 && !strassen_pays<lanes>(g, level)) --level;
  return level;
}

template <int lanes>
Plan plan_of(const GemmArgs& g) {
  const int level = strassen_level<lanes>(g);
  const int64_t parts = int64_t{1} << level, n = g.n / parts;
  // Narrow parts leave room for a deep block, and sums of many products to be added to c half as often.
  // Without parts, n must not change the order of sums.
  const bool is_narrow = level > 0 && n <= kNarrowBlockColumns;
  return {level,
          parts,
          strassen_steps(level),
          g.m / parts,
          n,
          g.k / parts,
          is_narrow ? kNarrowBlockDepth : kBlockDepth};
}

// Blocks of rows by blocks of columns that a product is dealt to threads in, a row of blocks after the other.
struct Grid {
  int64_t heights, widths;
  int64_t blocks() const { return heights * widths; }
};

// With parts, blocks of c are strips of each. Where there are not as many for each thread they are narrower,
// and if there are fewer than threads, lower too.
template <int lanes>
Grid grid_of_parts(const Plan& plan, int64_t threads) {
  const int64_t panels = plan.n / kPanel<lanes>;
  Grid grid{pieces(plan.m, kStripRows<lanes>[plan.level]),
            pieces(panels, kStripColumns[plan.level] / kPanel<lanes>)};
  if (grid.heights % threads == 0) return grid;
  grid.widths = std::min(panels, pieces(grid.widths, threads) * threads);
  grid.heights = std::clamp(threads / grid.widths, grid.heights, pieces(plan.m, 4 * kTileRows<lanes>));
  return grid;
}

// As many blocks of columns for each thread. Where there are more threads than blocks they share the rows
// too. That has each of them pack the whole block, so few rows are better not shared: then blocks are
// narrower, although tiles of a are copied for each. Unless b is in panels and soon packed: then each thread
// has rows of its own as long as they suffice, mostly those that it has in the layers before and after.
template <int lanes>
Grid grid_of(const GemmArgs& g, const Plan& plan, int64_t threads) {
  constexpr int64_t kFewRows = 700, kOwnRows = 96, kLeastColumns = kBlockColumns / 2;
  if (plan.level > 0) return grid_of_parts<lanes>(plan, threads);
  int64_t widths = pieces(plan.n, kBlockColumns);
  const bool few_rows = plan.m < kFewRows;
  if (g.b_in_panels && few_rows && plan.m >= kOwnRows * threads) return {threads, widths};
  if (widths >= threads) return {1, std::min(plan.n / kPanel<lanes>, pieces(widths, threads) * threads)};
  for (int64_t more = widths + 1; more <= std::min(threads, plan.n / kLeastColumns); ++more) {
    if (few_rows && threads % more == 0) widths = more;
  }
  return {std::clamp<int64_t>(threads / widths, 1, pieces(plan.m, 4 * kTileRows<lanes>)), widths};
}

// Floats that a thread needs for the strips of all parts of one of its blocks.
template <int lanes>
int64_t strip_size(const Plan& plan, const Grid& grid) {
  if (plan.level == 0) return 0;
  const int64_t tiles = pieces(pieces(plan.m, grid.heights), kTileRows<lanes>);
  const int64_t panels = pieces(plan.n / kPanel<lanes>, grid.widths);
  return plan.parts * plan.parts * tiles * panels * kTileRows<lanes> * kPanel<lanes>;
}

// What one thread does at a time: a block of b and the rows of a that pass by it.
template <int lanes>
struct Work {
  int64_t step;
  Range rows, columns, depth;

  int64_t tiles() const { return pieces(rows.size(), kTileRows<lanes>); }
  int64_t panels() const { return columns.size() / kPanel<lanes>; }
  Range tile(int64_t i) const {
    const Range own = share(rows.size(), 1, i, tiles());
    return {rows.begin + own.begin, rows.begin + own.end};
  }
  // Times that the kernel calls Copier::advance in a tile.
  int64_t calls() const { return panels() * (depth.size() / kDepthStep); }
};

template <int lanes>
class Product {
 public:
  using Work = native::Work<lanes>;

  Product(const GemmArgs& g, const Plan& plan) : g_(g), plan_(plan) {
    a_by_row_ = g.a.column == 1;
    b_by_row_ = g.b.column == 1 || g.b_in_panels;
  }

  Work work(const Grid& grid, int64_t depths, int64_t i) const {
    // Steps within depths within blocks of c.
    const int64_t steps = plan_.step_count(), block = i / (depths * steps);
    return {i % steps, share(plan_.m, 1, block / grid.widths, grid.heights),
            share(plan_.n, kPanel<lanes>, block % grid.widths, grid.widths),
            share(plan_.k, kPanel<lanes>, i / steps % depths, depths)};
  }

  // Of the rows `rows` of a to a tile.
  Copy tile_copy(const Work& w, Range rows, float* tile) const {
    Copy copy{};
    copy.source = sum_of(plan_.steps[w.step].a, [&](const Part& part) {
      return static_cast<const float*>(g_.a.data) + (part.row * plan_.m + rows.begin) * g_.a.row +
             (part.column * plan_.k + w.depth.begin) * g_.a.column;
    });
    copy.copy = tile;
    if (a_by_row_) {
      copy.pair = kPanel<lanes>;
      copy.half = lanes;
      copy.pairs = w.depth.size() / kPanel<lanes>;
      copy.inner = rows.size();
      copy.source_inner = g_.a.row;
      copy.copy_inner = kRowStride;
    } else {
      copy.pair = 2 * g_.a.column;
      copy.half = g_.a.column;
      copy.pairs = lanes;
      copy.inner = w.depth.size() / kPanel<lanes>;
      copy.source_inner = kPanel<lanes> * g_.a.column;
      copy.copy_inner = kPanel<lanes> * lanes;
      // Where a column begins within a line, the tile before has fetched that.
      copy.fetched = rows.size() - 1;
    }
    return copy;
  }

  // A tile in columns is copied in whole vectors, of which the very last would end beyond a.
  bool ends_beyond(const Work& w, Range rows) const {
    return !a_by_row_ && w.depth.end == g_.k && rows.begin + lanes > g_.m;
  }

  void copy_tile(const Work& w, Range rows, float* tile) const {
    if (!ends_beyond(w, rows)) {
      const Copy copy = tile_copy(w, rows, tile);
      return copy_all(Lanes<lanes>{}, copy, copy.inner);
    }
    const float* column = static_cast<const float*>(g_.a.data) + rows.begin + w.depth.begin * g_.a.column;
    for (int64_t p = 0; p < w.depth.size(); ++p, column += g_.a.column, tile += lanes) {
      std::copy_n(column, rows.size(), tile);
    }
  }

  // Of the block of b to `buffer`, in units of as many rows of a panel as a vector has lanes.
  Copy block_copy(const Work& w, float* buffer) const {
    Copy copy{};
    copy.source = sum_of(plan_.steps[w.step].b, [&](const Part& part) {
      const int64_t p = part.row * plan_.k + w.depth.begin, j = part.column * plan_.n + w.columns.begin;
      return static_cast<const float*>(g_.b.data) +
             (g_.b_in_panels ? p * kPanel<lanes> + j * g_.k : p * g_.b.row + j * g_.b.column);
    });
    const bool in_place = g_.b_in_panels && copy.source.count == 1;
    copy.copy = in_place ? nullptr : buffer;
    copy.pairs = lanes;
    copy.inner = w.depth.size() / lanes;
    copy.copy_inner = lanes * kPanel<lanes>;
    copy.copy_outer = w.depth.size() * kPanel<lanes>;
    if (b_by_row_) {
      copy.pair = g_.b_in_panels ? kPanel<lanes> : g_.b.row;
      copy.half = lanes;
      copy.source_inner = lanes * copy.pair;
      copy.source_outer = g_.b_in_panels ? kPanel<lanes> * g_.k : kPanel<lanes>;
    } else {
      copy.pair = g_.b.column;
      copy.half = lanes * g_.b.column;
      copy.source_inner = lanes;
      copy.source_outer = kPanel<lanes> * g_.b.column;
    }
    return copy;
  }

  // Where columns of b are contiguous they are copied as they are, to where the rows of the unit will be, and
  // transposed in the end: shuffling does cost the multiply-adds their time, so it is best done apart.
  void finish_units(const Copy& block, Range units) const {
    if (b_by_row_) return;
    for (int64_t unit = units.begin; unit < units.end; ++unit) {
      for (int64_t half = 0; half < kPanel<lanes>; half += lanes)
        transpose_in_panel(Lanes<lanes>{}, block.copy + unit * lanes * kPanel<lanes> + half);
    }
  }

  // The buffers of the block and of the strip are those of the thread whose work it is, the tile's the
  // caller's.
  void multiply_tile(const Work& w, int64_t i, float* block, float* strip, const float* tile,
                     Ahead<lanes>& next) const {
    const Parts& parts = plan_.steps[w.step].c;
    const Range rows = w.tile(i);
    Targets targets{};
    targets.count = parts.count;
    for (int j = 0; j < parts.count; ++j) targets.each[j] = target(w, i, parts.each[j], strip);
    const int64_t depth = w.depth.size();
    const Copy read = block_copy(w, block);
    const Panels panels = read.copy ? Panels{block, depth * kPanel<lanes>, w.panels()}
                                    : Panels{read.source.terms[0], read.source_outer, w.panels()};
    if (a_by_row_) {
      dispatch_rows<lanes, ByRow<lanes>>(rows.size(), panels, depth, tile, targets, next);
    } else {
      if (g_.a_sum && w.columns.begin == 0) {
        sum_tile_columns(Lanes<lanes>{}, tile, rows.size(), depth, g_.a_sum + rows.begin,
                         w.depth.begin > 0 || g_.accumulate_a_sum);
      }
      dispatch_rows<lanes, ByColumn<lanes>>(rows.size(), panels, depth, tile, targets, next);
    }
    if (!(g_.quick_gelu || g_.factor || g_.residual)) return;
    for (const Part& c : parts) {
      if (!ends(w, c)) continue;
      apply_epilogue({g_.quick_gelu, g_.slope, g_.factor, g_.residual}, g_.c, DType::float32,
                     {offset(w, rows, c), rows.size(), w.columns.size(), g_.n});
    }
  }

 private:
  template <class At>
  static Sum sum_of(const Parts& parts, const At& at) {
    Sum sum{};
    sum.count = parts.count;
    for (int i = 0; i < parts.count; ++i) sum.terms[i] = at(parts.each[i]);
    const bool second = parts.each[1].negative, third = parts.each[2].negative;
    if (parts.count == 2) sum.signs = second ? Sum::kMinus : Sum::kPlus;
    if (parts.count == 4) {
      sum.signs = third ? (second ? Sum::kMinusMinusPlus : Sum::kPlusMinusMinus)
                        : (second ? Sum::kMinusPlusMinus : Sum::kPlusPlusPlus);
    }
    return sum;
  }

  // Of the first element of rows of a block in a part of c.
  int64_t offset(const Work& w, Range rows, const Part& c) const {
    return (c.row * plan_.m + rows.begin) * g_.n + c.column * plan_.n + w.columns.begin;
  }

  // Whether nothing was added to a part before, or will be later.
  bool begins(const Work& w, const Part& c) const { return w.depth.begin == 0 && c.is_first; }
  bool ends(const Work& w, const Part& c) const { return w.depth.end == plan_.k && c.is_last; }

  // Sums of a part are kept in the strip until the last, if there are several parts, else where they belong.
  Target target(const Work& w, int64_t i, const Part& part, float* strip) const {
    const Range rows = w.tile(i);
    const int64_t first = offset(w, rows, part);
    float* const c = static_cast<float*>(g_.c) + first;
    Target t{c, g_.n, kPanel<lanes>, c, g_.n, kPanel<lanes>, part.negative, nullptr};
    if (plan_.level > 0) {
      const int64_t tile = (part.row * plan_.parts + part.column) * w.tiles() + i;
      t.addend = strip + tile * w.panels() * kTileRows<lanes> * kPanel<lanes>;
      t.addend_row = kPanel<lanes>;
      t.addend_panel = kTileRows<lanes> * kPanel<lanes>;
      if (!ends(w, part)) {
        t.c = strip + tile * w.panels() * kTileRows<lanes> * kPanel<lanes>;
        t.row = t.addend_row;
        t.panel = t.addend_panel;
      }
    }
    if (begins(w, part) && !g_.accumulate) {
      t.addend = g_.bias ? g_.bias + part.column * plan_.n + w.columns.begin : nullptr;
      t.addend_row = 0;
      t.addend_panel = kPanel<lanes>;
    }
    const void* beside = g_.slope ? g_.slope : g_.factor ? g_.factor : g_.residual;
    if (beside && ends(w, part)) t.beside = static_cast<const float*>(beside) + first;
    return t;
  }

  const GemmArgs& g_;
  const Plan& plan_;
  bool a_by_row_, b_by_row_;
};

template <int lanes>
void multiply(const GemmArgs& g) {
  using Work = native::Work<lanes>;
  const Plan plan = plan_of<lanes>(g);
  const Product<lanes> product(g, plan);
  const int64_t depths = pieces(plan.k, plan.block_depth);
  const Grid grid = grid_of<lanes>(g, plan, omp_get_max_threads());
  const int64_t works = depths * plan.step_count();  // in a block of c
  const auto work_of = [&](int64_t i) { return product.work(grid, depths, i); };
  // A thread's offer stands at the first block of its range.
  struct Offer {
    SharedTiles tiles;
    float *blocks[2] = {nullptr, nullptr}, *strip = nullptr;
    int64_t last_work = 0;

    float* block(int64_t work) const { return blocks[work % 2]; }
  };
  std::vector<Offer> offers(static_cast<size_t>(grid.blocks()));
  parallel_for(grid.blocks(), 1, [&](int64_t begin, int64_t end) {
    Buffers& own = buffers(strip_size<lanes>(plan, grid));
    float *tile = own.tiles[0].get(), *next_tile = own.tiles[1].get();
    // What is in the next tile already, if anything.
    SharedTiles::Claim ready{-1, 0};
    const auto multiply = [&](const Offer& offer, SharedTiles::Claim claim) {
      const Work now = work_of(claim.work);
      const int64_t tiles = now.tiles();
      std::swap(tile, next_tile);
      if (claim.work != ready.work || claim.tile != ready.tile) {
        product.copy_tile(now, now.tile(claim.tile), tile);
      }
      Ahead<lanes> ahead;
      const SharedTiles::Claim following = claim.tile + 1 < tiles
                                               ? SharedTiles::Claim{claim.work, claim.tile + 1}
                                               : SharedTiles::Claim{claim.work + 1, 0};
      ready = {-1, 0};
      if (following.work <= offer.last_work) {
        const Work next = work_of(following.work);
        const Range rows = next.tile(following.tile);
        if (!product.ends_beyond(next, rows)) {
          const Copy copy = product.tile_copy(next, rows, next_tile);
          ahead.a = {copy, 0, copy.inner, now.calls()};
          ready = following;
        }
      }
      if (claim.work == offer.last_work) {
        product.multiply_tile(now, claim.tile, offer.block(claim.work), offer.strip, tile, ahead);
        return;
      }
      const Work next = work_of(claim.work + 1);
      const Copy block = product.block_copy(next, offer.block(claim.work + 1));
      const Range units = share(next.panels() * block.inner, 1, claim.tile, tiles);
      ahead.b = {block, units.begin, units.end, now.calls()};
      product.multiply_tile(now, claim.tile, offer.block(claim.work), offer.strip, tile, ahead);
      product.finish_units(block, units);
    };
    Offer& mine = offers[static_cast<size_t>(begin)];
    for (int i = 0; i < 2; ++i) mine.blocks[i] = own.blocks[i].get();
    mine.strip = own.strip.get();
    mine.last_work = end * works - 1;
    const Work first = work_of(begin * works);
    const Copy block = product.block_copy(first, mine.block(begin * works));
    const int64_t units = first.panels() * block.inner;
    copy_all(Lanes<lanes>{}, block, units);
    product.finish_units(block, {0, units});
    for (int64_t i = begin * works; i < end * works; ++i) {
      const int64_t tiles = work_of(i).tiles();
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
      other.tiles.help([&](int64_t work) { return work_of(work).tiles(); },
                       [&](SharedTiles::Claim claim) { multiply(other, claim); });
    }
  });
}

}  // namespace

int64_t blocked_gemm_panel() { return 2 * lanes_in_use(); }

bool blocked_gemm_applies(const GemmArgs& g) {
  const int64_t panel = blocked_gemm_panel();
  return panel > 0 && g.dtype == DType::float32 && g.result_dtype == DType::float32 && g.batch == 1 &&
         g.alpha == 1 && g.m >= 16 && g.n > 0 && g.n % panel == 0 && g.k > 0 && g.k % panel == 0;
}

void blocked_gemm(const GemmArgs& g) {
  if (lanes_in_use() == 16) return multiply<16>(g);
  multiply<8>(g);
}

#else

int64_t blocked_gemm_panel() { return 0; }
bool blocked_gemm_applies(const GemmArgs&) { return false; }
void blocked_gemm(const GemmArgs&) { fail("ERR_INTERNAL", "matrix product: AVX2 is not in this build"); }

#endif

}  // namespace native
