// How the CUDA benchmarks measure: events around groups of calls, operands that take turns so that the L2
// cache does not hold them, normal random data (zeros draw less power and run faster), everything twice.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace bench {

using native::DType;
using native::Shape;
using native::Tensor;

// The median microseconds of one call of run(i), which queues the operation on operand set i % sets. Warms up
// for `warm_up_seconds`; the better of two rounds of at least 20 samples.
double microseconds(int sets, const std::function<void(int)>& run, double warm_up_seconds = 0.2);

// Standard normal numbers on the device.
Tensor normal(const Shape& shape, DType dtype, double deviation = 1);

// How many operand sets of `bytes` each exceed the L2 cache twice over.
int sets_beyond_cache(double bytes);

// Peak figures that floors are computed with: dense bf16 FLOP/s and bytes/s of copying, both read and write
// counted.
struct Peaks {
  double flops, bytes;
};
const Peaks& peaks();
void set_peaks(Peaks measured);

// One measurement. The name and the sizes identify it to the other side of a comparison.
struct Row {
  std::string suite, name;
  std::vector<std::pair<std::string, int64_t>> sizes;
  DType dtype;
  double flops, bytes;  // of one call, every tensor read and written once
  double microseconds;
};
void report(const Row& row);  // one JSON line on stdout, with the floors and the rates

void matmul_suite(bool quick);
void attention_suite(bool quick);
void memory_suite(bool quick);
void gemm_sweep_suite(bool quick);

}  // namespace bench
