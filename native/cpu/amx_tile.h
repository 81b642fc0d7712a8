// The tiles of AMX, and the kernel of amx_gemm.cc that has its sums in them. A tile is 16 rows of 16 lanes of
// 32 bits: float32 in sums, and in factors pairs of bfloat16. A product of tiles takes 16 cycles.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define AMX __attribute__((target("avx512bw,avx512vl,amx-tile,amx-bf16")))
#define INLINE_AMX inline __attribute__((always_inline, target("avx512bw,avx512vl,amx-tile,amx-bf16")))

namespace native::amx_tile {

constexpr int64_t kSide = 16, kTile = kSide * kSide;
constexpr int64_t kDepth = 2 * kSide;  // numbers that a product of tiles adds up for each sum
constexpr int64_t kBlock = 2 * kSide;  // rows and columns of c that are summed at a time

// bfloat16 numbers that make up one of T.
template <class T>
constexpr int64_t kParts = 1;
template <>
inline constexpr int64_t kParts<float> = 3;

// Compilers' own forms of these take no register number that a template computes.
template <int tile>
INLINE_AMX void load_tile(const void* rows, int64_t row_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(row_bytes), "i"(tile));
}
template <int tile>
INLINE_AMX void store_tile(void* rows, int64_t row_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(row_bytes), "i"(tile) : "memory");
}
template <int tile>
INLINE_AMX void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
// sum += a b, all tiles. The even and the odd numbers of the depth are added up in float32 by themselves.
template <int sum, int a, int b>
INLINE_AMX void multiply_add() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(a), "i"(b));
}
// What was written before is in memory for the tiles that are loaded after this.
INLINE_AMX void finish_writing() { asm volatile("" ::: "memory"); }

struct alignas(64) TileSetting {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// In memory, for compilers take the instruction to read no more than the first bytes.
inline constexpr TileSetting kTileSetting;

// While this lives the thread has tiles, all of them whole.
class Tiles {
 public:
  AMX Tiles() { _tile_loadconfig(&kTileSetting); }
  AMX ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// Two tiles beside each other in b, or below each other in a, and where those of the next step begin. All
// distances are in bytes. Tiles of the parts of a number follow each other.
struct TilePair {
  const char* first;
  int64_t tile, row, step;
};

constexpr int64_t kRowBytes = kSide * 4, kTileBytes = kTile * 4;
constexpr int kTileA = 4, kTileB = 6;  // registers 0 to 3 are the sums

template <int i, int part>
INLINE_AMX void load_a(const TilePair& a) {
  load_tile<kTileA + i>(a.first + part * kTileBytes + i * a.tile, a.row);
}
template <int j, int part>
INLINE_AMX void load_b(const TilePair& b) {
  load_tile<kTileB + j>(b.first + part * kTileBytes + j * b.tile, kRowBytes);
}
template <int i, int j>
INLINE_AMX void multiply_add_at() {
  multiply_add<2 * i + j, kTileA + i, kTileB + j>();
}

// Adds the products of one part of a and one of b, of which those that are new are loaded.
template <int row_tiles, int a_part, bool new_a, int b_part, bool new_b>
INLINE_AMX void multiply_parts(const TilePair& a, const TilePair& b) {
  if constexpr (new_a) load_a<0, a_part>(a);
  if constexpr (new_b) load_b<0, b_part>(b);
  multiply_add_at<0, 0>();
  if constexpr (new_b) load_b<1, b_part>(b);
  multiply_add_at<0, 1>();
  if constexpr (row_tiles == 2) {
    if constexpr (new_a) load_a<1, a_part>(a);
    multiply_add_at<1, 0>();
    multiply_add_at<1, 1>();
  }
}

// So often does each operand advance in a step.
template <class T>
constexpr int64_t kCalls = kParts<T> == 1 ? 1 : 3;

// sums [kBlock][kBlock] (+)= products of `steps` times kDepth numbers of a and b, while what is ahead
// advances. With one row tile the lower half of the sums is left as it is. Of the nine products of three
// parts the three smallest are left out.
template <class T, int row_tiles, class Ahead>
AMX void multiply_block(TilePair a, TilePair b, int64_t steps, float* sums, bool accumulate, Ahead& ahead) {
  constexpr int64_t kSumsBytes = kBlock * 4;
  float* const lower = sums + kSide * kBlock;
  finish_writing();
  if (accumulate) {
    load_tile<0>(sums, kSumsBytes);
    load_tile<1>(sums + kSide, kSumsBytes);
    if constexpr (row_tiles == 2) {
      load_tile<2>(lower, kSumsBytes);
      load_tile<3>(lower + kSide, kSumsBytes);
    }
  } else {
    clear_tile<0>();
    clear_tile<1>();
    clear_tile<2>();
    clear_tile<3>();
  }
  for (int64_t step = 0; step < steps; ++step) {
    if constexpr (kParts<T> == 1) {
      multiply_parts<row_tiles, 0, true, 0, true>(a, b);
      ahead.advance_a();
      ahead.advance_b();
    } else {
      multiply_parts<row_tiles, 2, true, 0, true>(a, b);
      ahead.advance_a();
      multiply_parts<row_tiles, 1, true, 0, false>(a, b);
      ahead.advance_b();
      multiply_parts<row_tiles, 1, false, 1, true>(a, b);
      ahead.advance_a();
      multiply_parts<row_tiles, 0, true, 1, false>(a, b);
      ahead.advance_b();
      multiply_parts<row_tiles, 0, false, 2, true>(a, b);
      ahead.advance_a();
      multiply_parts<row_tiles, 0, false, 0, true>(a, b);
      ahead.advance_b();
    }
    a.first += a.step;
    b.first += kParts<T> * kTileBytes;
  }
  store_tile<0>(sums, kSumsBytes);
  store_tile<1>(sums + kSide, kSumsBytes);
  if constexpr (row_tiles == 2) {
    store_tile<2>(lower, kSumsBytes);
    store_tile<3>(lower + kSide, kSumsBytes);
  }
}

}  // namespace native::amx_tile
