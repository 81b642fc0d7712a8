// Which kernels of the tensor cores run a product, and how: as was measured for its shape, else as estimated.
#pragma once

#include <optional>

#include "gemm/gemm.h"

namespace native::cuda {

struct GemmChoice {
  int kernels;  // 90: gemm_sm90, 80: gemm_sm80
  int tile;     // an Sm90TileKind, or an index into gemm_sm80_tiles(dtype)
  int cluster;  // 1 for gemm_sm80
  int slabs;
  bool apart = false;  // as an Sm90Choice's

  friend bool operator==(const GemmChoice& x, const GemmChoice& y) {
    return x.kernels == y.kernels && x.tile == y.tile && x.cluster == y.cluster && x.slabs == y.slabs &&
           x.apart == y.apart;
  }
};

// Whether these arguments can be run like that on the current device.
bool gemm_supports(const GemmArgs& args, const GemmChoice& choice);
void run_gemm(const GemmArgs& args, const GemmChoice& choice);

// Null where no tensor core of the device takes these arguments.
std::optional<GemmChoice> choose_gemm(const GemmArgs& args);
std::optional<GemmChoice> estimated_gemm(const GemmArgs& args);  // without the measured table

}  // namespace native::cuda
