// How the CUDA benchmarks measure: events around groups of calls, operands that take turns so that the L2
// cache does not hold them, normal random data (zeros draw less power and run faster), everything twice.
#pragma once

#include <functional>

#include "report.h"

namespace bench {

using native::Shape;
using native::Tensor;

// The size of everything: the models' own, a sixteenth, or what the emulated device gets through in a moment
// (once each: that shows that the program works, and nothing about time).
enum class Scale { full, quick, tiny };
Scale scale();
void set_scale(Scale scale);
// One of three values by the scale.
int64_t by_scale(int64_t full, int64_t quick, int64_t tiny);

// How much time a measurement takes. The card is warm already: the copy that comes first sees to that.
struct Effort {
  double warm_up_seconds;
  int rounds, samples;  // of about a millisecond
};
inline constexpr Effort kUsual{0.05, 2, 21}, kFirst{0.5, 2, 21}, kSweep{0.01, 1, 11};

// The microseconds of one call of run(i), which queues the operation on operand set i % sets: the median of
// the samples, of the better round.
double microseconds(int sets, const std::function<void(int)>& run, const Effort& effort = kUsual);

// Measures and reports a row, whose microseconds are not known yet. Where one measurement was asked for, only
// that one is made, and nothing is timed: a profiler, started with --profile-from-start off, sees one call of
// it.
void measure(Row row, int sets, const std::function<void(int)>& run);
// Asks for the measurement of this suite, name and sizes, as the table has them: "self backward 16 577 578 16
// 0".
void set_profiled(const std::string& label);
int profiled_calls();

// Standard normal numbers on the device.
Tensor normal(const Shape& shape, DType dtype, double deviation = 1);

// How many operand sets of `bytes` each exceed the L2 cache twice over.
int sets_beyond_cache(double bytes);

void matmul_suite();
void attention_suite();
void measure_copy_bandwidth();  // of the device's own copy
void memory_suite();
void gemm_sweep_suite();

}  // namespace bench
