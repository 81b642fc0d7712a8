#include "check.h"

#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <stdexcept>

#include "core/random.h"

namespace check {
namespace {

using native::concat;
using native::Storage;

constexpr size_t kMargin = 512;  // bytes in front of a tensor and behind it

// Margins are looked for in storages of this harness only.
std::map<const Storage*, std::weak_ptr<Storage>>& guarded() {
  static std::map<const Storage*, std::weak_ptr<Storage>> storages;
  return storages;
}

native::DeviceBackend& device() { return native::backend(native::DeviceType::cuda); }

Tensor place(const std::vector<unsigned char>& bytes, const Shape& shape, DType dtype, int64_t offset) {
  const size_t front = kMargin + static_cast<size_t>(offset) * native::dtype_size(dtype);
  std::vector<unsigned char> block(front + bytes.size() + kMargin, 0xFF);
  std::copy(bytes.begin(), bytes.end(), block.begin() + static_cast<ptrdiff_t>(front));
  auto storage = std::make_shared<Storage>(native::DeviceType::cuda, block.size(), true);
  device().copy_from_host(storage->data, block.data(), block.size());
  guarded()[storage.get()] = storage;
  return Tensor(storage, shape, dtype, static_cast<int64_t>(front / native::dtype_size(dtype)));
}

}  // namespace

double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::bfloat16:
      return 0x1p-9;
    case DType::float16:
      return 0x1p-12;
    default:
      return 0x1p-24;
  }
}

double rounded(double value, DType dtype) {
  return native::visit_any(dtype, [&](auto tag) -> double {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_integral_v<T>) {
      return static_cast<double>(static_cast<T>(value));
    } else {
      return static_cast<double>(static_cast<float>(T(static_cast<float>(value))));
    }
  });
}

Tensor to_device(const Values& values, const Shape& shape, DType dtype, int64_t offset) {
  if (native::shape_numel(shape) != static_cast<int64_t>(values.size())) {
    native::fail("ERR_SHAPE", values.size(), " values for a tensor ", native::shape_string(shape));
  }
  std::vector<unsigned char> bytes(values.size() * native::dtype_size(dtype));
  native::visit_any(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < values.size(); ++i) {
      T value;
      if constexpr (std::is_integral_v<T>) {
        value = static_cast<T>(values[i]);
      } else {
        value = T(static_cast<float>(values[i]));
      }
      std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
  });
  return place(bytes, shape, dtype, offset);
}

Tensor poisoned(const Shape& shape, DType dtype, int64_t offset) {
  const auto bytes = static_cast<size_t>(native::shape_numel(shape)) * native::dtype_size(dtype);
  return place(std::vector<unsigned char>(bytes, 0xFF), shape, dtype, offset);
}

void fence() {
  std::promise<std::optional<native::Error>> promise;
  device().fence([&](std::optional<native::Error> error) { promise.set_value(std::move(error)); });
  if (auto error = promise.get_future().get()) throw *error;
}

Values to_host(const Tensor& x) {
  const Storage* storage = x.storage().get();
  const auto guard = guarded().find(storage);
  const bool whole = guard != guarded().end() && !guard->second.expired();
  const auto* start = static_cast<const unsigned char*>(x.raw());
  const auto* block = whole ? static_cast<const unsigned char*>(storage->data) : start;
  std::vector<unsigned char> bytes(whole ? storage->bytes : x.nbytes());
  device().copy_to_host(bytes.data(), block, bytes.size());
  fence();
  const auto front = static_cast<size_t>(start - block), end = front + x.nbytes();
  // A view of part of a tensor has that tensor around it, so only the outermost bytes are certain.
  for (size_t i = 0; whole && i < bytes.size(); ++i) {
    const bool margin = i < kMargin || i >= bytes.size() - kMargin;
    if (!margin || (i >= front && i < end) || bytes[i] == 0xFF) continue;
    throw std::runtime_error(concat("byte ", static_cast<ptrdiff_t>(i) - static_cast<ptrdiff_t>(front),
                                    " of ", x.describe(), ", outside of it, was written"));
  }
  Values values(static_cast<size_t>(x.numel()));
  native::visit_any(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < values.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + front + i * sizeof(T), sizeof(T));
      values[i] = static_cast<double>(value);
    }
  });
  return values;
}

Values normal(int64_t count, uint64_t seed, DType dtype, double scale) {
  const native::Philox philox{seed, 77};
  Values values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto words = philox(i);
    const double radius = std::sqrt(-2 * std::log((words[0] + 1.0) * 0x1p-32));
    values[i] = rounded(scale * radius * std::cos(2 * M_PI * words[1] * 0x1p-32), dtype);
  }
  return values;
}

Values integers(int64_t count, uint64_t seed, int64_t low, int64_t high) {
  const native::Philox philox{seed, 78};
  Values values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(low + static_cast<int64_t>(philox(i)[0]) % (high - low));
  }
  return values;
}

double allowed_error(const Reference& reference, const std::vector<Values>& operands, DType dtype,
                     double slack) {
  const Values base = reference(operands);
  const double unit = unit_roundoff(dtype);
  double noise = 0, largest = 0;
  for (double value : base) {
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  }
  for (uint64_t draw = 0; draw < 4; ++draw) {
    std::vector<Values> moved = operands;
    for (size_t k = 0; k < moved.size(); ++k) {
      const native::Philox philox{draw, 1000 + k};
      for (size_t i = 0; i < moved[k].size(); ++i) {
        moved[k][i] *= 1 + unit * (2 * native::Philox::to_uniform(philox(i)[0]) - 1);
      }
    }
    const Values other = reference(moved);
    for (size_t i = 0; i < base.size(); ++i) {
      const double distance = std::fabs(base[i] - other[i]);
      if (std::isfinite(distance)) noise = std::max(noise, distance);
    }
  }
  return slack * (noise + unit * largest);
}

std::string difference(const Values& actual, const Values& expected, double allowed) {
  if (actual.size() != expected.size()) return concat(actual.size(), " elements, expected ", expected.size());
  size_t worst = actual.size(), wrong = 0;
  double most = -1;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]))) continue;
    double distance = std::fabs(actual[i] - expected[i]);
    if (std::isnan(distance)) distance = HUGE_VAL;
    if (distance <= allowed) continue;
    ++wrong;
    if (distance > most) {
      most = distance;
      worst = i;
    }
  }
  if (wrong == 0) return "";
  return concat(wrong, " of ", actual.size(), " elements are wrong; element ", worst, " is ", actual[worst],
                ", expected ", expected[worst], " (off by ", most, ", allowed ", allowed, ")");
}

void expect_close(const std::string& what, const Tensor& actual, const Values& expected, double allowed) {
  const std::string text = difference(to_host(actual), expected, allowed);
  CHECK_MESSAGE(text.empty(), what << ": " << text);
}

void expect_equal(const std::string& what, const Tensor& actual, const Values& expected) {
  expect_close(what, actual, expected, 0);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const native::Error& error) {
    return error.code() + " " + error.what();
  }
  return "";
}

}  // namespace check
