// The fundamental types of PTX by their names.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include "program.h"

namespace emulation::ptx {

// Kinds of types: u and s, b, f.
inline constexpr int kIntegers = 1, kBits = 2, kFloats = 4, kAll = 7;

// f(T{}) for the type of this name, if it is of those kinds and has 16 bits or more, else null.
template <int kKinds, class F>
Execute select(std::string_view type, F&& f) {
  if constexpr (kKinds & kIntegers) {
    if (type == "u16") return f(uint16_t{});
    if (type == "u32") return f(uint32_t{});
    if (type == "u64") return f(uint64_t{});
    if (type == "s16") return f(int16_t{});
    if (type == "s32") return f(int32_t{});
    if (type == "s64") return f(int64_t{});
  }
  if constexpr (kKinds & kBits) {
    if (type == "b16") return f(uint16_t{});
    if (type == "b32") return f(uint32_t{});
    if (type == "b64") return f(uint64_t{});
  }
  if constexpr (kKinds & kFloats) {
    if (type == "f32") return f(float{});
    if (type == "f64") return f(double{});
  }
  return nullptr;
}

// 0 of its sign where a is below the normal numbers.
inline float flushed(float a) {
  return std::fabs(a) < std::numeric_limits<float>::min() ? std::copysign(0.0f, a) : a;
}

}  // namespace emulation::ptx
