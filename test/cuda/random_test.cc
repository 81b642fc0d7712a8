// Random tensors against core/random.h: uniform numbers and dropped paths bit for bit, normal numbers within
// the rounding of the float32 functions they go through.
#include "ops/random.h"

#include <cmath>

#include "check.h"
#include "core/random.h"

using namespace check;
using native::Philox;

namespace {

constexpr int64_t kSeed = 0x123456789abcdef, kStream = 77;

uint32_t word_of(int64_t i, int64_t seed = kSeed, int64_t stream = kStream) {
  const Philox philox{static_cast<uint64_t>(seed), static_cast<uint64_t>(stream)};
  return philox(static_cast<uint64_t>(i / 4))[static_cast<size_t>(i % 4)];
}

}  // namespace

TEST_CASE("uniform numbers are those of the CPU, bit for bit") {
  for (int64_t n : {0, 1, 3, 4, 1025, 4099}) {
    for (const auto& [low, high] : {std::pair<double, double>{0, 1}, {-0.1, 0.3}, {1e9, 1e9 + 1}, {2, 2}}) {
      Values expected;
      for (int64_t i = 0; i < n; ++i) {
        const double product = (high - low) * Philox::to_uniform(word_of(i));
        double value = static_cast<float>(low + product);
        if (value >= high && high > low) value = std::nextafter(static_cast<float>(high), -INFINITY);
        expected.push_back(value);
      }
      expect_equal(native::concat(n, " of ", low, " to ", high),
                   native::random_uniform({n}, low, high, kSeed, kStream, native::DeviceType::cuda),
                   expected);
    }
  }
}

TEST_CASE("a view is filled to its last element and no further") {
  for (int64_t n : {5, 1024, 1027}) {
    for (int64_t offset : {0, 1}) {
      const Tensor y = poisoned({n}, DType::float32, offset);
      native::launch(native::random_kernel,
                     native::RandomArgs{y.data<float>(), n, 1, 2, 0, 1, 0, 0, native::Distribution::uniform},
                     {&y});
      Values expected;
      for (int64_t i = 0; i < n; ++i) expected.push_back(Philox::to_uniform(word_of(i, 1, 2)));
      expect_equal("view", y, expected);
    }
  }
}

TEST_CASE("normal numbers by Box-Muller") {
  const int64_t n = 20000;
  Values expected;
  for (int64_t i = 0; i < n; ++i) {
    const double radius = std::sqrt(-2 * std::log(1.0 - Philox::to_uniform(word_of(i & ~1))));
    const double angle = 2 * M_PI * Philox::to_uniform(word_of(i | 1));
    expected.push_back(1.5 + 2 * radius * (i % 2 ? std::sin(angle) : std::cos(angle)));
  }
  // Radii reach 5.8; the float32 angle is off by up to 3e-7.
  expect_close("normal", native::random_normal({n}, 1.5, 2, kSeed, kStream, native::DeviceType::cuda),
               expected, 6e-6);
}

TEST_CASE("truncated normal numbers by the inverse distribution function") {
  const int64_t n = 20000;
  const double mean = 0.5, deviation = 2, low = -11, high = 3;
  const Values y = to_host(native::random_truncated_normal({n}, mean, deviation, low, high, kSeed, kStream,
                                                           native::DeviceType::cuda));
  const auto probability = [&](double x) {
    return 0.5 * std::erfc(-(x - mean) / deviation / std::sqrt(2.0));
  };
  double worst = 0;
  int64_t outside = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double x = y[static_cast<size_t>(i)];
    outside += x < low || x > high;
    // Back through the distribution function: the number that was drawn.
    const double p =
        probability(low) + (probability(high) - probability(low)) * ((word_of(i) >> 8) + 0.5) * 0x1p-24;
    const double density =
        std::exp(-0.5 * std::pow((x - mean) / deviation, 2)) / (deviation * std::sqrt(2 * M_PI));
    worst = std::fmax(worst, std::fabs(probability(x) - p) / density);
  }
  CHECK(outside == 0);
  CHECK(worst < 1e-6);  // half a unit in the last place of numbers up to 11
}

TEST_CASE("drop_path drops the samples that the CPU drops, bit for bit") {
  for (DType dtype : kFloats) {
    for (int64_t size : {1, 7, 64, 1032}) {
      for (int64_t offset : {0, 1}) {
        const int64_t samples = 37;
        const float rate = 0.4f;
        const Values x = normal(samples * size, 1, dtype);
        Values expected;
        for (int64_t i = 0; i < samples * size; ++i) {
          const bool kept = Philox::to_uniform(word_of(i / size)) >= rate;
          const float value = static_cast<float>(x[static_cast<size_t>(i)]) * (1.0f / (1.0f - rate));
          expected.push_back(kept ? rounded(value, dtype) : 0);
        }
        const Tensor operand = to_device(x, {samples, size}, dtype, offset),
                     y = poisoned({samples, size}, dtype, offset);
        native::launch(
            native::drop_path_kernel,
            native::DropPathArgs{operand.raw(), y.raw(), samples, size, static_cast<uint64_t>(kSeed),
                                 static_cast<uint64_t>(kStream), nullptr, rate, dtype},
            {&operand});
        expect_equal(native::concat(native::dtype_name(dtype), " samples of ", size, " at ", offset), y,
                     expected);
      }
    }
  }
}

TEST_CASE("drop_path adds the offset on the device to the stream") {
  const Tensor x = to_device(normal(64, 1), {32, 2}, DType::float32);
  const int64_t offset = int64_t{5} << 26;
  const Tensor dropped = native::drop_path(x, 0.5, 32, kSeed, 3 + offset, std::nullopt);
  const Tensor added =
      native::drop_path(x, 0.5, 32, kSeed, 3, to_device({static_cast<double>(offset)}, {}, DType::int64));
  expect_equal("by offset", added, to_host(dropped));
}

TEST_CASE("a dropped sample is zero even where it was NaN") {
  const Tensor x = to_device(Values(8, std::nan("")), {8, 1}, DType::float32);
  const Values y = to_host(native::drop_path(x, 0.5, 8, 3, 4, std::nullopt));
  int64_t zeros = 0;
  for (double value : y) zeros += value == 0;
  CHECK(zeros > 0);
  CHECK(zeros < 8);
}
