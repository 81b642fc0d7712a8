#include "ops/random.h"

#include <algorithm>

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(random, RandomArgs);
DEFINE_KERNEL(drop_path, DropPathArgs);

namespace {

constexpr double kFarthest = 37;  // deviations beyond which a probability is no normal float64

void check_key(const char* op, int64_t seed, int64_t stream) {
  CHECK(seed >= 0 && stream >= 0, "ERR_ARGUMENT", op, ": seed and stream must not be negative, got ", seed,
        " and ", stream);
}

Tensor generate(const char* op, const Shape& shape, Distribution distribution, double first, double second,
                double low, double high, int64_t seed, int64_t stream, DeviceType device) {
  check_key(op, seed, stream);
  Tensor y = empty(shape, DType::float32, device);
  launch(random_kernel,
         RandomArgs{y.data<float>(), y.numel(), static_cast<uint64_t>(seed), static_cast<uint64_t>(stream),
                    first, second, low, high, distribution},
         {&y});
  return y;
}

}  // namespace

Tensor random_uniform(const Shape& shape, double low, double high, int64_t seed, int64_t stream,
                      DeviceType device) {
  CHECK(low <= high, "ERR_ARGUMENT", "random_uniform: low ", low, " is above high ", high);
  return generate("random_uniform", shape, Distribution::uniform, low, high, 0, 0, seed, stream, device);
}

Tensor random_normal(const Shape& shape, double mean, double deviation, int64_t seed, int64_t stream,
                     DeviceType device) {
  CHECK(deviation >= 0, "ERR_ARGUMENT", "random_normal: negative standard deviation ", deviation);
  return generate("random_normal", shape, Distribution::normal, mean, deviation, 0, 0, seed, stream, device);
}

Tensor random_truncated_normal(const Shape& shape, double mean, double deviation, double low, double high,
                               int64_t seed, int64_t stream, DeviceType device) {
  CHECK(deviation > 0 && low < high, "ERR_ARGUMENT", "random_truncated_normal: standard deviation ",
        deviation, " between ", low, " and ", high, " is not a distribution");
  CHECK(std::max(low - mean, mean - high) <= kFarthest * deviation, "ERR_ARGUMENT",
        "random_truncated_normal: ", low, " to ", high, " is more than ", kFarthest,
        " standard deviations from the mean");
  // What lies above the mean is mirrored: of a probability near 1 few digits tell how near.
  const double scale = low > mean ? -deviation : deviation;
  return generate("random_truncated_normal", shape, Distribution::truncated_normal, mean, scale, low, high,
                  seed, stream, device);
}

Tensor drop_path(const Tensor& x, double rate, int64_t samples, int64_t seed, int64_t stream,
                 const std::optional<Tensor>& offset) {
  check_key("drop_path", seed, stream);
  check_float("drop_path", "x", x);
  CHECK(rate >= 0 && rate < 1, "ERR_ARGUMENT", "drop_path: rate must be in [0, 1), got ", rate);
  CHECK(x.ndim() >= 1 && samples > 0 && x.size(0) % samples == 0, "ERR_SHAPE", "drop_path: ", x.describe(),
        " cannot be cut into ", samples, " equal samples");
  if (offset) {
    CHECK(offset->dtype() == DType::int64 && offset->numel() == 1, "ERR_SHAPE",
          "drop_path: the offset must be one int64 number, got ", offset->describe());
    common_device("drop_path", {&x, &*offset});
  }
  Tensor y = empty_like(x);
  launch(drop_path_kernel,
         DropPathArgs{x.raw(), y.raw(), samples, x.numel() / samples, static_cast<uint64_t>(seed),
                      static_cast<uint64_t>(stream), offset ? offset->data<int64_t>() : nullptr,
                      static_cast<float>(rate), x.dtype()},
         {&x});
  return y;
}

}  // namespace native
