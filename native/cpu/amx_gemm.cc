// A thread takes a strip of c at a time, and of a and b what lies in kBlockDepth of the depth. It makes tiles
// of all of a, and panel by panel of b, that stay in its L2 and L1 caches, and multiplies: while it does, the
// next panel of b and the next part of a become tiles, for multiplying them leaves the vector units idle.
// Rows of bfloat16 along the depth are tiles where they are. Sums stay in a strip of the thread's own until
// all of the depth is in them.
#include "cpu/amx_gemm.h"

#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/blocks.h"
#include "cpu/epilogue.h"
#include "cpu/isa.h"

#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 11))
#define HAS_AMX_TARGET 1
#else
#define HAS_AMX_TARGET 0
#endif

#if HAS_AMX_TARGET
#include "cpu/amx_split.h"
#include "cpu/amx_tile.h"
#endif

namespace native {

#if HAS_AMX_TARGET

using namespace amx_tile;

namespace {

// A panel of b [kBlockDepth][kBlock] takes a third or half of L1, and what passes by it of a, with the strip,
// most of L2. Other depths from half to twice these, and strips half as high or wide, are up to a fifth
// slower.
constexpr int64_t kStripBlocks = 13, kStripPanels = 12;
template <class T>
constexpr int64_t kBlockDepth = 256;
template <>
constexpr int64_t kBlockDepth<float> = 128;
// Of a tile with its parts as deep as a block.
constexpr int64_t kTileLanes = kBlockDepth<float> / kDepth * kParts<float> * kTile;
static_assert(kBlockDepth<bfloat16> / kDepth * kTile <= kTileLanes);

// Tiles of an operand, and which of them are of usual numbers.
template <int64_t count>
struct SplitTiles {
  Buffer<uint32_t> lanes = new_buffer<uint32_t>(count * kTileLanes);
  bool usual[count];

  template <class T>
  TilePair pair(int64_t tile) const {
    const uint32_t* const first = lanes.get() + tile * kTileLanes;
    return {reinterpret_cast<const char*>(first), kTileLanes * 4, kRowBytes, kParts<T> * kTileBytes};
  }
};

// What a thread has: the present tiles and the next, in turn, and the sums of a strip.
struct Buffers {
  SplitTiles<2 * kStripBlocks> a[2];
  SplitTiles<2> b[2];
  Buffer<float> sums = new_buffer<float>(kStripBlocks * kStripPanels * kBlock * kBlock);
};

Buffers& buffers() {
  thread_local Buffers own;
  return own;
}

// Blocks of kBlock that cover a range, and one of them.
int64_t blocks_of(Range r) { return pieces(r.size(), kBlock); }
Range block_of(Range r, int64_t i) {
  return {r.begin + i * kBlock, std::min(r.begin + (i + 1) * kBlock, r.end)};
}

// What one thread does at a time: a strip of c, and a part of its depth.
struct Work {
  int64_t strip;
  Range rows, columns, depth;

  int64_t steps() const { return pieces(depth.size(), kDepth); }
};

template <class T>
class Product {
 public:
  Product(const GemmArgs& g, int64_t threads)
      : g_(g), a_(static_cast<const T*>(g.a.data)), b_(static_cast<const T*>(g.b.data)) {
    // As many strips for each thread: narrower ones, or where that does not help, lower ones.
    const int64_t blocks = pieces(g.m, kBlock), panels = pieces(g.n, kBlock);
    heights_ = pieces(blocks, kStripBlocks);
    widths_ = pieces(panels, kStripPanels);
    while (heights_ * widths_ % threads != 0 && widths_ < panels) ++widths_;
    while (heights_ * widths_ < threads && heights_ < blocks) ++heights_;
  }

  int64_t strips() const { return heights_ * widths_; }

  // Strip `first`, and then those that `next` counts.
  void multiply_strips(int64_t first, std::atomic<int64_t>& next) const {
    Buffers& own = buffers();
    const Tiles tiles;
    auto *a = &own.a[0], *next_a = &own.a[1];
    auto *b = &own.b[0], *next_b = &own.b[1];
    Ahead<T> ahead;
    Work now = work(first);
    ahead.a.begin(a_operand(now, *a));
    ahead.a.finish();
    ahead.b.begin(b_operand(now, 0, *b));
    ahead.b.finish();
    while (now.strip < strips()) {
      const Work then = work_after(now, next);
      const bool is_last = then.strip >= strips();
      const int64_t panels = blocks_of(now.columns), calls = blocks_of(now.rows) * now.steps() * kCalls<T>;
      ahead.a.begin(is_last ? Operand<T>{} : a_operand(then, *next_a));
      ahead.a_pace = {ahead.a.units(), panels * calls};
      for (int64_t panel = 0; panel < panels; ++panel) {
        ahead.b.begin(panel + 1 < panels ? b_operand(now, panel + 1, *next_b)
                      : is_last          ? Operand<T>{}
                                         : b_operand(then, 0, *next_b));
        ahead.b_pace = {ahead.b.units(), calls};
        multiply_panel(now, panel, *a, *b, own.sums.get(), ahead);
        ahead.b.finish();
        std::swap(b, next_b);
      }
      ahead.a.finish();
      std::swap(a, next_a);
      if (now.depth.end == g_.k) write(now, own.sums.get());
      now = then;
    }
  }

 private:
  Work work(int64_t strip) const {
    return {strip,
            share(g_.m, kBlock, strip / widths_, heights_),
            share(g_.n, kBlock, strip % widths_, widths_),
            {0, std::min(kBlockDepth<T>, g_.k)}};
  }

  Work work_after(const Work& w, std::atomic<int64_t>& next) const {
    if (w.depth.end == g_.k) return work(next.fetch_add(1));
    return {w.strip, w.rows, w.columns, {w.depth.end, std::min(w.depth.end + kBlockDepth<T>, g_.k)}};
  }

  // Tiles of a that are multiplied where they are: rows of bfloat16 along the depth.
  int64_t tiles_in_place(const Work& w) const {
    const bool is_tile = kParts<T> == 1 && g_.a.column == 1 && w.depth.size() % kDepth == 0;
    return is_tile ? w.rows.size() / kSide : 0;
  }

  TilePair a_pair(const Work& w, int64_t block, const SplitTiles<2 * kStripBlocks>& a) const {
    const int64_t tile = 2 * block, in_place = tiles_in_place(w);
    // All tiles of a block have to be.
    const bool is_in_place = tile + (block_of(w.rows, block).size() > kSide) < in_place;
    if (!is_in_place) return a.template pair<T>(tile);
    const T* const first = a_ + (w.rows.begin + tile * kSide) * g_.a.row + w.depth.begin;
    const int64_t row = g_.a.row * static_cast<int64_t>(sizeof(T));
    return {reinterpret_cast<const char*>(first), kSide * row, row, kDepth * static_cast<int64_t>(sizeof(T))};
  }

  Operand<T> a_operand(const Work& w, SplitTiles<2 * kStripBlocks>& target) const {
    const int64_t first = tiles_in_place(w) / 2 * 2, row = w.rows.begin + first * kSide;
    Operand<T> o{};
    o.data = a_ + row * g_.a.row + w.depth.begin * g_.a.column;
    o.across = g_.a.row;
    o.down = g_.a.column;
    o.tiles = pieces(w.rows.end - row, kSide);
    o.width = w.rows.end - row;
    o.depth = w.depth.size();
    o.depth_in_lanes = true;
    o.following = kBlockDepth<T> * g_.a.column;
    o.target = target.lanes.get() + first * kTileLanes;
    o.target_tile = kTileLanes;
    o.usual = target.usual + first;
    std::fill_n(target.usual, first, true);
    return o;
  }

  Operand<T> b_operand(const Work& w, int64_t panel, SplitTiles<2>& target) const {
    const Range columns = block_of(w.columns, panel);
    Operand<T> o{};
    o.data = &b(w.depth.begin, columns.begin);
    o.across = g_.b_in_panels ? 1 : g_.b.column;
    o.down = g_.b_in_panels ? kBlock : g_.b.row;
    o.tiles = pieces(columns.size(), kSide);
    o.width = columns.size();
    o.depth = w.depth.size();
    o.following = kBlock * (g_.b_in_panels ? g_.k : g_.b.column);
    o.target = target.lanes.get();
    o.target_tile = kTileLanes;
    o.usual = target.usual;
    return o;
  }

  const T& b(int64_t p, int64_t j) const {
    return g_.b_in_panels ? b_[(j / kBlock * g_.k + p) * kBlock + j % kBlock]
                          : b_[p * g_.b.row + j * g_.b.column];
  }

  void multiply_panel(const Work& w, int64_t panel, const SplitTiles<2 * kStripBlocks>& a,
                      const SplitTiles<2>& b, float* strip, Ahead<T>& ahead) const {
    const Range columns = block_of(w.columns, panel);
    const bool accumulate = w.depth.begin > 0, usual_b = are_usual(b, 0, columns);
    for (int64_t i = 0; i < blocks_of(w.rows); ++i) {
      const Range rows = block_of(w.rows, i);
      float* const sums = strip + (panel * blocks_of(w.rows) + i) * kBlock * kBlock;
      if (!usual_b || !are_usual(a, i, rows)) {
        add_products(rows, columns, w.depth, sums);
      } else if (rows.size() > kSide) {
        multiply_block<T, 2>(a_pair(w, i, a), b.template pair<T>(0), w.steps(), sums, accumulate, ahead);
      } else {
        multiply_block<T, 1>(a_pair(w, i, a), b.template pair<T>(0), w.steps(), sums, accumulate, ahead);
      }
    }
  }

  template <class Split>
  static bool are_usual(const Split& tiles, int64_t i, Range block) {
    return tiles.usual[2 * i] && (block.size() <= kSide || tiles.usual[2 * i + 1]);
  }

  // One number after the other: infinity and NaN have no parts.
  AMX void add_products(Range rows, Range columns, Range depth, float* sums) const {
    if (depth.begin == 0) std::fill_n(sums, kBlock * kBlock, 0.0f);
    for (int64_t p = depth.begin; p < depth.end; ++p) {
      float b_row[kBlock] = {};
      for (int64_t j = 0; j < columns.size(); ++j) b_row[j] = static_cast<float>(b(p, columns.begin + j));
      for (int64_t i = 0; i < rows.size(); ++i) {
        const float factor = static_cast<float>(a_[(rows.begin + i) * g_.a.row + p * g_.a.column]);
        for (int64_t j = 0; j < kBlock; ++j) sums[i * kBlock + j] += factor * b_row[j];
      }
    }
  }

  void write(const Work& w, const float* strip) const {
    static_assert(kBlock == kPanelColumns);
    const int64_t height = blocks_of(w.rows);
    for (int64_t i = 0; i < height; ++i) {
      const Range rows = block_of(w.rows, i);
      const float* const bias = g_.bias ? g_.bias + w.columns.begin : nullptr;
      write_sums({strip + i * kBlock * kBlock, kBlock, height * kBlock * kBlock, bias, g_.accumulate},
                 {g_.quick_gelu, g_.slope, g_.factor, g_.residual}, g_.c, g_.result_dtype,
                 {rows.begin * g_.n + w.columns.begin, rows.size(), w.columns.size(), g_.n});
    }
  }

  const GemmArgs& g_;
  const T *a_, *b_;
  int64_t heights_, widths_;
};

template <class T>
void multiply(const GemmArgs& g) {
  const int64_t threads = omp_get_max_threads();
  const Product<T> product(g, threads);
  const int64_t begun = std::min(threads, product.strips());
  std::atomic<int64_t> next{begun};
  parallel_for(begun, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) product.multiply_strips(i, next);
  });
}

}  // namespace

// Empty parts of tiles cost as much as full ones, and parts of float32 numbers are worth making where each is
// in many products.
bool amx_gemm_applies(const GemmArgs& g) {
  constexpr int64_t kLeastRows = 32, kLeastColumns = 96, kLeastDepth = 64, kLeastProducts = 1 << 21;
  constexpr int64_t kLeastOfFloats = 128;
  static const bool available = uses_amx();
  if (!available || g.batch != 1 || g.alpha != 1) return false;
  if (g.dtype == DType::float32) return std::min({g.m, g.n, g.k}) >= kLeastOfFloats;
  return g.m >= kLeastRows && g.n >= kLeastColumns && g.k >= kLeastDepth && g.m * g.n * g.k >= kLeastProducts;
}

void amx_gemm(const GemmArgs& g) {
  if (g.dtype == DType::float32) {
    multiply<float>(g);
  } else {
    multiply<bfloat16>(g);
  }
}

#else

bool amx_gemm_applies(const GemmArgs&) { return false; }
void amx_gemm(const GemmArgs&) { fail("ERR_INTERNAL", "matrix product: AMX is not in this build"); }

#endif

}  // namespace native
