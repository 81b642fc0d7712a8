// Tensors of random numbers from Philox: element i is made of word i % 4 of block i / 4, so it depends on
// (seed, stream, i) alone.
#pragma once

#include <optional>

#include "core/kernel.h"
#include "core/shape.h"

namespace native {

enum class Distribution : uint8_t { uniform, normal, truncated_normal };

struct RandomArgs {
  float* y;  // [numel]
  int64_t numel;
  uint64_t seed, stream;
  double first, second;  // low and high, or mean and standard deviation, negated to mirror the numbers
  double low, high;      // bounds of the truncated normal distribution
  Distribution distribution;
};

struct DropPathArgs {
  const void* x;  // [samples, size]
  void* y;        // [samples, size]
  int64_t samples, size;
  uint64_t seed, stream;
  const int64_t* offset;  // [] or null, added to stream
  float rate;
  DType dtype;  // a floating type
};

DECLARE_KERNEL(random, RandomArgs);
DECLARE_KERNEL(drop_path, DropPathArgs);

// float32 in [low, high): 24 random bits per element.
Tensor random_uniform(const Shape& shape, double low, double high, int64_t seed, int64_t stream,
                      DeviceType device);

// float32 by Box-Muller: a pair of words makes the pair of elements in the same places (cosine, then sine).
Tensor random_normal(const Shape& shape, double mean, double deviation, int64_t seed, int64_t stream,
                     DeviceType device);

// float32, normal between low and high, by the inverse distribution function.
Tensor random_truncated_normal(const Shape& shape, double mean, double deviation, double low, double high,
                               int64_t seed, int64_t stream, DeviceType device);

// x in `samples` equal groups along dimension 0: each group becomes zero with probability `rate` and is
// multiplied by 1 / (1 - rate) otherwise. Group g uses word g % 4 of block g / 4. The derivative is the same
// function of dy. `offset`, int64 [], is added to the stream when the kernel runs: recorded work then draws
// anew at each replay.
Tensor drop_path(const Tensor& x, double rate, int64_t samples, int64_t seed, int64_t stream,
                 const std::optional<Tensor>& offset);

}  // namespace native
