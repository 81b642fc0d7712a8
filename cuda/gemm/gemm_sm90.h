// The matrix product of sm_90a and its tiles; a sweep may force one.
#pragma once

#include "common/memo.h"
#include "gemm/gemm.h"

namespace native::cuda {

// The tiles that are compiled: m x n; two warpgroups together on one tile, or each on its own in turn.
enum class Sm90TileKind : int {
  ping_pong_128x192,
  cooperative_128x256,
  cooperative_256x192,
  cooperative_128x128
};
inline constexpr int kSm90TileKinds = 4;

struct Sm90TileShape {
  int m, n;
};
inline constexpr Sm90TileShape kSm90TileShapes[kSm90TileKinds] = {
    {128, 192}, {128, 256}, {256, 192}, {128, 128}};

// How a product is run. slabs > 1 cuts k and adds the parts in order (float32 results only): each when its
// turn comes, or `apart`, in scratch, by another kernel.
struct Sm90Choice {
  Sm90TileKind tile;
  int cluster = 1;  // 1 or 2
  int slabs = 1;
  bool apart = false;
};

// What choose_sm90 chose so far on this device.
struct Sm90Choices : Memo<Sm90Choice, 7> {};

// Whether these arguments can be run like that; how gemm_sm90 runs them; running them so.
bool gemm_sm90_supports(const GemmArgs& args, const Sm90Choice& choice);
Sm90Choice choose_sm90(const GemmArgs& args);
Sm90Choice search_sm90(const GemmArgs& args, int multiprocessors);  // what choose_sm90 remembers
void gemm_sm90(const GemmArgs& args, const Sm90Choice& choice);

}  // namespace native::cuda
