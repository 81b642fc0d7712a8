// What gemm_sm90.cu (which tile, which tensor maps) and the files that hold the kernels share.
#pragma once

#include <primitives/launch.h>

#include <primitives/hopper.cuh>

#include "gemm/gemm_sm90.h"

namespace native::cuda {

// What the epilogue does with a second matrix of C's shape.
enum class Sm90Aux : int { none, slope, multiplier, residual };

struct Sm90Params {
  int m, n;
  int row_tiles, column_tiles;  // row tiles of each block of a cluster
  int band;                     // columns of tiles that are done for all rows before the next ones
  int batch;                    // result matrices
  int steps, summed;            // steps of 64 k in one operand matrix; matrices whose products are summed
  int slabs;                    // parts into which all steps of a tile are cut
  bool apart;                   // C is [batch, slabs, m, n] and row_sum [slabs, m]: nothing is added
  int batched_a, batched_b;     // 0 or 1: the operand has a matrix per batch index
  int cluster;                  // 1, or 2: blocks of a cluster share B
  float alpha;
  const float* bias;
  bool quick_gelu;
  Sm90Aux aux;
  bool accumulate;
  float* row_sum;
  bool accumulate_row_sum;
  int* turns;  // [batch, row tiles, column tiles, 2]: how many slabs of a half (ping-pong: of all) of a tile
               // are in C, 0 at first; null where there is one slab, or `apart`
  int*
      tickets;  // how much work clusters have taken, 0 before and after; null: cluster c of C takes c, c + C,
                // ...
};

// Of slabs of tiles, for each block of a cluster.
constexpr int work_count(const Sm90Params& p) { return p.slabs * p.batch * p.row_tiles * p.column_tiles; }

struct Sm90Launch {
  TensorMap a, b, c, aux;
  Sm90Params params;
};

// How many clusters of such blocks the device holds at once, of one block per multiprocessor.
int resident_clusters(const void* kernel, const LaunchShape& shape);

// Queue the kernel of a tile and a dtype of the operands, by their majors: results of the operands' dtype for
// A [m, k] and B [n, k]; A [m, k] and B [k, n]; A [k, m] and either; float32 results for A [k, m] and B [k,
// n].
void launch_sm90_forward(const Sm90Launch& launch, Sm90TileKind tile, DType dtype);
void launch_sm90_input(const Sm90Launch& launch, Sm90TileKind tile, DType dtype);
void launch_sm90_transposed(const Sm90Launch& launch, Major b, DType dtype);
void launch_sm90_weight(const Sm90Launch& launch, Sm90TileKind tile, DType dtype);

}  // namespace native::cuda
