// One measurement as a line of JSON on stdout and a line of a table on stderr, with its two floors and what
// was predicted.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace bench {

using native::DType;

// What bounds a kernel: dense bf16 FLOP/s as a vendor's library reaches them on random data, and bytes/s of
// copying, read and write both counted.
struct Peaks {
  double flops, bytes;
};
// Predictions are for an H200; floors are computed with the card's own copying once it is measured.
inline constexpr Peaks kH200{790e12, 4.3e12};
const Peaks& peaks();
void set_copy_bandwidth(double bytes_per_second);

// The predicted microseconds on an H200 of something that reaches these fractions of the peaks. Kernels that
// memory bounds are expected to reach 0.88 of copying.
double predicted(double flops, double flop_fraction, double bytes);
// Of a product that sums over k: a short sum leaves the epilogue in sight, slabs of a weight gradient cost
// their sums.
double predicted_product(double flops, double bytes, int64_t k, bool weight_gradient);

struct Row {
  std::string suite, name;
  std::vector<std::pair<std::string, int64_t>> sizes;  // with the names, they identify the measurement
  DType dtype;
  double flops, bytes;  // of one call, every tensor read and written once
  double microseconds;
  double predicted;  // 0: nothing was predicted
};
void report(const Row& row);

}  // namespace bench
