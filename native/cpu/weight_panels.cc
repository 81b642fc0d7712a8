// Weights as blocked_gemm reads them: panels of 32 or 16 rows of the weight, each transposed where it is. The
// buffer that a panel passes through is one for all, for they are moved by the queue's thread alone, and is
// there before the first weight is packed, so that none is lost for want of memory.
#include <algorithm>
#include <cstdlib>

#include "core/weight_packing.h"
#include "cpu/blocked_gemm.h"

namespace native {
namespace {

constexpr int64_t kWidestPanel = 32, kMostInputs = 8192;

float* buffer() {
  alignas(64) static float panel[kWidestPanel * kMostInputs];
  return panel;
}

bool applies(int64_t rows, int64_t out, int64_t in, DType dtype) {
  GemmArgs product{1, rows, out, in, {nullptr, 0, in, 1}, {nullptr, 0, 1, in}, nullptr, dtype, dtype};
  return in <= kMostInputs && blocked_gemm_applies(product);
}

// Each panel [rows][columns] of the weight to [columns][rows].
void transpose_panels(void* weight, int64_t panels, int64_t rows, int64_t columns) {
  constexpr int64_t kSquare = 16;
  float* const turned = buffer();
  for (int64_t i = 0; i < panels; ++i) {
    float* const panel = static_cast<float*>(weight) + i * rows * columns;
    for (int64_t r = 0; r < rows; r += kSquare) {
      for (int64_t c = 0; c < columns; c += kSquare) {
        for (int64_t y = c; y < c + kSquare; ++y) {
          for (int64_t x = r; x < r + kSquare; ++x) turned[y * rows + x] = panel[x * columns + y];
        }
      }
    }
    std::copy_n(turned, rows * columns, panel);
  }
}

void pack(void* weight, int64_t out, int64_t in) {
  const int64_t panel = blocked_gemm_panel();
  transpose_panels(weight, out / panel, panel, in);
}

void unpack(void* weight, int64_t out, int64_t in) {
  const int64_t panel = blocked_gemm_panel();
  transpose_panels(weight, out / panel, in, panel);
}

const WeightPacking packing{applies, pack, unpack};
[[maybe_unused]] const bool registered = (register_weight_packing(DeviceType::cpu, packing), true);

}  // namespace
}  // namespace native
