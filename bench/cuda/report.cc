#include "report.h"

#include <algorithm>
#include <cstdio>

namespace bench {
namespace {

Peaks g_peaks = kH200;
std::string g_suite;  // of the last row: the table has a heading for each

}  // namespace

const Peaks& peaks() { return g_peaks; }
void set_copy_bandwidth(double bytes_per_second) { g_peaks.bytes = bytes_per_second; }

double predicted(double flops, double flop_fraction, double bytes) {
  return 1e6 * std::max(flops / (flop_fraction * kH200.flops), bytes / (0.88 * kH200.bytes));
}

double predicted_product(double flops, double bytes, int64_t k, bool weight_gradient) {
  return predicted(flops, weight_gradient ? 0.93 : k >= 2048 ? 0.96 : 0.90, bytes);
}

void report(const Row& row) {
  const double arithmetic = 1e6 * row.flops / g_peaks.flops, bytes = 1e6 * row.bytes / g_peaks.bytes;
  std::string sizes;
  std::printf("{\"suite\":\"%s\",\"name\":\"%s\",\"dtype\":\"%s\",\"sizes\":{", row.suite.c_str(),
              row.name.c_str(), native::dtype_name(row.dtype));
  for (const auto& [name, size] : row.sizes) {
    std::printf("%s\"%s\":%lld", sizes.empty() ? "" : ",", name.c_str(), static_cast<long long>(size));
    sizes += (sizes.empty() ? "" : " ") + std::to_string(size);
  }
  std::printf(
      "},\"microseconds\":%.3f,\"floorArithmetic\":%.3f,\"floorBytes\":%.3f,\"predicted\":%.3f,"
      "\"tflops\":%.2f,\"gigabytesPerSecond\":%.1f}\n",
      row.microseconds, arithmetic, bytes, row.predicted, row.flops / row.microseconds * 1e-6,
      row.bytes / row.microseconds * 1e-3);
  std::fflush(stdout);
  if (row.suite != g_suite) {
    g_suite = row.suite;
    std::fprintf(stderr, "%-42s %-26s %9s %9s %9s %9s %8s %7s\n", g_suite.c_str(), "sizes", "us", "flop us",
                 "byte us", "expected", "TFLOP/s", "GB/s");
  }
  std::fprintf(stderr, "  %-40s %-26s %9.1f %9.1f %9.1f %9.1f %8.1f %7.0f\n", row.name.c_str(), sizes.c_str(),
               row.microseconds, arithmetic, bytes, row.predicted, row.flops / row.microseconds * 1e-6,
               row.bytes / row.microseconds * 1e-3);
}

}  // namespace bench
