// Element types: the run-time tag, its C++ type, and the switch between the two.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.h"

namespace native {

// bfloat16: the upper half of a float32; conversion rounds to nearest even and keeps NaN a NaN.
// Written without branches and without memory, so that loops over it vectorise.
struct bfloat16 {
  uint16_t bits;
  bfloat16() = default;
  explicit bfloat16(float value) {
    const uint32_t word = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16, quiet = (word >> 16) | 0x40;
    bits = static_cast<uint16_t>((word & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
  }
  operator float() const { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }
};

// float16 (IEEE binary16): storage and casts only on the CPU.
struct float16 {
  uint16_t bits;
  float16() = default;
  explicit float16(float value) {
    uint32_t word;
    std::memcpy(&word, &value, 4);
    const uint32_t sign = (word >> 16) & 0x8000;
    const uint32_t magnitude = word & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) {
      bits = static_cast<uint16_t>(sign | 0x7E00);  // NaN
    } else if (magnitude >= 0x477FF000) {
      bits = static_cast<uint16_t>(sign | 0x7C00);  // rounds to infinity
    } else if (magnitude >= 0x38800000) {
      bits = static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xFFF + ((magnitude >> 13) & 1)) >> 13));
    } else {
      // Subnormal: adding 0.5 aligns the binary point so that the hardware rounds to nearest even for us.
      float absolute;
      std::memcpy(&absolute, &magnitude, 4);
      absolute += 0.5f;
      std::memcpy(&word, &absolute, 4);
      bits = static_cast<uint16_t>(sign | (word - 0x3F000000));
    }
  }
  operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    const uint32_t exponent = (bits >> 10) & 31, fraction = bits & 0x3FF;
    uint32_t word;
    if (exponent == 31) {
      word = sign | 0x7F800000 | (fraction << 13);
    } else if (exponent) {
      word = sign | ((exponent + 112) << 23) | (fraction << 13);
    } else {
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      std::memcpy(&word, &magnitude, 4);
      word |= sign;
    }
    float value;
    std::memcpy(&value, &word, 4);
    return value;
  }
};

enum class DType : uint8_t { float32, bfloat16, float16, int64, int32, uint8 };
inline constexpr int kDTypeCount = 6;

inline const char* dtype_name(DType dtype) {
  static constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "int64", "int32", "uint8"};
  return kNames[static_cast<int>(dtype)];
}

inline size_t dtype_size(DType dtype) {
  static constexpr size_t kSizes[] = {4, 2, 2, 8, 4, 1};
  return kSizes[static_cast<int>(dtype)];
}

inline DType dtype_from_name(const std::string& name) {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (name == dtype_name(static_cast<DType>(i))) return static_cast<DType>(i);
  }
  fail("ERR_DTYPE", "unknown dtype '", name, "': use float32, bfloat16, float16, int64, int32 or uint8");
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct DTypeOf<bfloat16> {
  static constexpr DType value = DType::bfloat16;
};
template <>
struct DTypeOf<float16> {
  static constexpr DType value = DType::float16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::uint8;
};

template <class T>
struct TypeTag {
  using type = T;
};

// Calls f(TypeTag<T>{}) for any dtype.
template <class F>
decltype(auto) visit_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(TypeTag<float>{});
    case DType::bfloat16:
      return f(TypeTag<bfloat16>{});
    case DType::float16:
      return f(TypeTag<float16>{});
    case DType::int64:
      return f(TypeTag<int64_t>{});
    case DType::int32:
      return f(TypeTag<int32_t>{});
    case DType::uint8:
      return f(TypeTag<uint8_t>{});
  }
  fail("ERR_INTERNAL", "corrupt dtype tag");
}

// Calls f(TypeTag<T>{}) for the dtypes that carry arithmetic on the CPU: float32 and bfloat16.
template <class F>
decltype(auto) visit_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(TypeTag<float>{});
    case DType::bfloat16:
      return f(TypeTag<bfloat16>{});
    default:
      fail("ERR_DTYPE", "expected float32 or bfloat16, got ", dtype_name(dtype));
  }
}

}  // namespace native
